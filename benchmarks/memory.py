"""Peak memory of training or predicting, each side in a process of its own.

Run:    python -m benchmarks.memory --workload mrpc --against trainer

The figure is the highest resident memory of the process while it builds the model and
trains, less what it held once its libraries and the texts were loaded; on a GPU the
most that torch had allocated. The steps include the longest batch of a whole epoch.
"""

import argparse
import gc
import json
import resource
import statistics
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from benchmarks import command, machine, measure, plans, records
from benchmarks.inference_sides import Predictor, build_predictor
from benchmarks.opponents import GROUPED, OPPONENTS, build_side, check_opponent
from benchmarks.tasks import Side, Task, build_task
from benchmarks.workloads import ROOT

NUM_STEPS = 3
_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


def main(argv: list[str] | None = None) -> dict:
    """Measure as the command line asks; return the result."""
    if argv is None and sys.argv[1:] == ["--child"]:
        return _run_child()
    args = _parse(argv)
    machine.prepare_process(args.device)
    task = build_task(**command.task_options(args))
    settings = _guess_settings(task, args.against)
    sides = [("kbert", {}), (args.against, settings)]
    measured = [_measure(task, args, sides) for _ in range(args.repeats)]
    peaks_of = zip(*measured, strict=True)
    samples = dict(zip(("kbert", args.against), map(list, peaks_of), strict=True))
    ratios: dict = {"ratio": None}
    peaks: dict = dict.fromkeys(samples)
    if all(peak for pair in measured for peak in pair):
        ratios = measure.compare(*samples.values())
        peaks = {name: statistics.median(one) for name, one in samples.items()}
    result = {
        "workload": args.workload,
        "against": args.against,
        "preset": task.preset.name,
        **ratios,
        "peak_memory_bytes": peaks,
        "real_texts": task.workload.is_real,
        "settings": settings,
    }
    for name, peak in result["peak_memory_bytes"].items():
        print(f"{name}: " + (f"{peak / 1e6:.0f} MB" if peak else "failed"))
    config = {"preset": task.preset.name, "batch_size": task.batch_size}
    config |= {"sequence_length": task.max_length, "device": task.device}
    config |= {"dtype": task.precision, "data": task.workload.data}
    record = records.build_record(
        "memory",
        f"{args.workload}-{args.against}-{task.preset.name}",
        result,
        args,
        config=config,
        warmup_steps=0,
        timed_steps=NUM_STEPS,
        peak_memory_bytes=samples,
    )
    return records.finish(record, args.results)


def _parse(argv) -> argparse.Namespace:
    parser = command.build_parser(__doc__, repeats=1)
    command.add_model_flags(parser, workload="mrpc", all_tasks=True)
    parser.add_argument("--against", choices=OPPONENTS, default="trainer")
    args = command.parse(parser, argv)
    check_opponent(parser, args)
    return args


def _guess_settings(task: Task, against: str) -> dict:
    """Return what `trainer-best` is run with when no trial has been made."""
    if against != "trainer-best":
        return {}
    bfloat16 = task.precision != "float32" and machine.prefers_bfloat16(task.device)
    return {"optim": "adamw_torch_fused", "bf16": bfloat16, "attention": "sdpa"}


def measure_predicting(options: dict, sides: Iterable[Predictor]) -> list[int | None]:
    """Measure the peaks of sides that predict all texts of a task.

    Args:
        options: what the task was built with.
        sides: for their names and settings.

    Returns:
        Bytes, or `None` for a side that failed.
    """
    return [
        _start_child({"side": one.name, "settings": one.settings, "task": options})
        for one in sides
    ]


def measure_peaks(task: Task, args, sides: tuple[Side, Side]) -> list[int | None]:
    """Measure the peaks of two sides that have just been timed.

    Args:
        task: what they train.
        args: flags the task was built with.
        sides: kbert and the opponent, for their names and settings.

    Returns:
        Bytes, or `None` for a side that failed.
    """
    return _measure(task, args, [(side.name, side.settings) for side in sides])


def _measure(task: Task, args, sides) -> list[int | None]:
    steps = 2 if args.quick else NUM_STEPS
    plan = plans.build_plan(
        task.lengths,
        batch_size=task.batch_size,
        num_warmup=1,
        num_timed=steps - 1,
        grouped=any(name in GROUPED for name, _ in sides),
        largest_first=True,
    )
    peaks = []
    for name, settings in sides:
        rows = plan.ours if name == "kbert" else plan.theirs
        order = {"side": name, "settings": settings, "rows": rows.tolist()}
        peaks.append(_start_child(order | {"task": command.task_options(args)}))
    return peaks


def _start_child(order: dict) -> int | None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", "--child"],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        print(f"memory of {order['side']}: failed ({done.returncode}): {reason}")
        return None
    return json.loads(done.stdout.splitlines()[-1])["peak_memory_bytes"]


def _run_child() -> dict:
    order = json.loads(sys.stdin.read())
    machine.prepare_process(order["task"]["device"])
    task = build_task(**order["task"])
    len(task.encoded)  # tokenized before the baseline is read
    _import_libraries(order["side"])
    gc.collect()
    peak = PeakMemory(order["task"]["device"])
    if "rows" in order:
        side = build_side(order["side"], task, order["settings"])
        side.train(np.array(order["rows"]), 1)
    else:
        build_predictor(order["side"], task, order["settings"]).predict()
    result = {"peak_memory_bytes": peak.read()}
    print(json.dumps(result))
    return result


def _import_libraries(side: str) -> None:
    import torch  # noqa: F401

    if side == "kbert":
        import kbert

        kbert.build_classifier, kbert.adamw  # noqa: B018  # loaded on first use
    elif side == "keras":
        import keras_hub  # noqa: F401
    else:
        from transformers import (  # noqa: F401
            BertForSequenceClassification,
            Trainer,
            TrainingArguments,
        )


class PeakMemory:
    """Highest memory of this process above what it holds when this is made.

    Args:
        device: `cpu` reads resident memory, `cuda` what torch has allocated.
    """

    def __init__(self, device: str):
        self._device = device
        if device == "cuda":
            import torch

            torch.cuda.reset_peak_memory_stats()
            return
        try:
            _RESET.write_text("5")  # forget the peak of the imports
        except OSError:
            pass
        self._baseline = _read_status("VmRSS")

    def read(self) -> int:
        """Return the peak so far, in bytes."""
        if self._device == "cuda":
            import torch

            return int(torch.cuda.max_memory_allocated())
        return max(0, _read_status("VmHWM") - self._baseline)


def _read_status(field: str) -> int:
    """Read a field of /proc/self/status in bytes; elsewhere the peak so far."""
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    value = next(line.split()[1] for line in lines if line.startswith(f"{field}:"))
    return int(value) * 1024


if __name__ == "__main__":
    main()
