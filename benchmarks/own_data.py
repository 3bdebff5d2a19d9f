"""Own data: what does `kbert train` reach when the user sets nothing?

Run:    python -m benchmarks.own_data --sets stsb --seeds 3 --progress build/own.jsonl

Each set is given to `kbert.train` as a user would give it, with the embedded preset;
task, columns, learning rate, length, batch size and epochs are the rules' own. A set's
first figure is measured on rows that neither trained nor chose an epoch: its test part,
or its validation part where the test labels are hidden (SST-2). `phrases` takes other
rows of SST-2's training file instead, most of which are parts of sentences, as those
that it trains on are; the validation part has whole ones. `several` is made here:
reviews of films (IMDb) and of goods (Amazon), each labelled by both what it is about
and whether it praises. `squad` is SQuAD's development file cut 80:20 by article; the
untrained model is measured beside it. A seed sets the split, the head, the order of the
rows and dropout.

With `--progress`, an interrupted run is taken up where it stopped.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import command, machine, records
from benchmarks.progress import Progress, digest_training_code
from benchmarks.workloads import data_folder

PRESET = "all_minilm_l6_v2_en"
_SST2_ROWS = 2000
_SEVERAL_ROWS = 1000  # of each of the two files, each class half


@dataclass(frozen=True)
class Set:
    """A data set, as a user has it.

    Args:
        task: that the data should be taken for.
        metric: the figure that counts.
        goal: what it should reach; `None` where there is no such figure.
        give: from the data folder and a scratch folder to `kbert.train`'s arguments.
        measures_untrained: whether the untrained model is measured too.
    """

    task: str
    metric: str
    goal: float | None
    give: Callable[[Path, Path], dict[str, Any]]
    measures_untrained: bool = False


def _give_stsb(data: Path, scratch: Path) -> dict[str, Any]:
    folder = data / "stsb"
    columns = {"text": "sentence1", "text_pair": "sentence2", "label": "score"}
    held_out = {"validation": folder / "validation.csv", "test": folder / "test.csv"}
    return {"source": folder / "train.csv", **columns, **held_out}


def _give_conll(data: Path, scratch: Path) -> dict[str, Any]:
    folder = data / "ner"
    held_out = {"validation": folder / "valid.txt", "test": folder / "test.txt"}
    return {"source": folder / "train.txt", **held_out}


def _give_sst2(data: Path, scratch: Path) -> dict[str, Any]:
    folder = data / "sst2"
    return {
        "source": folder / "train.csv",
        "text": "sentence",
        "label": "label",
        "test": folder / "validation.csv",
        "limit": _SST2_ROWS,
    }


def _give_phrases(data: Path, scratch: Path) -> dict[str, Any]:
    import pandas as pd

    rows = pd.read_csv(data / "sst2" / "train.csv", keep_default_na=False)
    rows = rows.drop_duplicates("sentence").sample(frac=1, random_state=0)
    half = len(rows) // 2
    for name, part in (("train", rows[:half]), ("test", rows[half:])):
        part.to_csv(scratch / f"{name}.csv", index=False)
    given = {"text": "sentence", "label": "label", "limit": _SST2_ROWS}
    return {"source": scratch / "train.csv", "test": scratch / "test.csv", **given}


def _give_several(data: Path, scratch: Path) -> dict[str, Any]:
    """Write a table of reviews of two kinds, each with two labels."""
    import pandas as pd

    films = pd.read_parquet(data / "imdb" / "train.parquet")
    goods = pd.read_csv(data / "amazon" / "polarity_train.csv", keep_default_na=False)
    parts = []
    for about, rows, column in (("film", films, "text"), ("goods", goods, "content")):
        half = _SEVERAL_ROWS // 2
        rows = pd.concat(
            own.sample(half, random_state=0) for _, own in rows.groupby("label")
        )
        says = rows["label"].map({0: "blame", 1: "praise"})
        parts.append(pd.DataFrame({"text": rows[column], "labels": about + ";" + says}))
    path = scratch / "several.csv"
    pd.concat(parts).sample(frac=1, random_state=0).to_csv(path, index=False)
    return {"source": path, "test": 0.2}


def _give_squad(data: Path, scratch: Path) -> dict[str, Any]:
    return {"source": data / "squad" / "dev-v1.1.json", "test": 0.2}


SETS = {
    "stsb": Set("regress", "pearson", 0.83, _give_stsb),
    "conll": Set("tag", "f1", 0.84, _give_conll),
    "sst2": Set("classify", "accuracy", 0.86, _give_sst2),
    "phrases": Set("classify", "accuracy", 0.86, _give_phrases),
    "several": Set("multilabel", "f1_micro", None, _give_several),
    "squad": Set("answer", "exact_match", None, _give_squad, measures_untrained=True),
}


def main(argv: list[str] | None = None) -> dict:
    """Train on the sets that the command line names; return the last result."""
    args = _parse(argv)
    machine.prepare_process("cpu")
    progress = Progress(args.progress)
    result: dict = {}
    for name in args.sets:
        runs = [_run(args, name, seed, progress) for seed in range(args.seeds)]
        result = _build_result(args, name, runs)
        records.finish(_build_record(args, name, runs, result), args.results)
    return result


def _parse(argv) -> argparse.Namespace:
    parser = command.build_parser(__doc__, repeats=None)
    add = parser.add_argument
    add("--sets", nargs="+", choices=tuple(SETS), default=list(SETS))
    add("--preset", help="preset or folder; default the embedded one")
    add("--seeds", type=command.count, default=1, help="runs a set, seeds from 0 on")
    add("--limit", type=command.count, help="most rows of each file")
    add("--epochs", type=command.count, help="instead of the rules' own")
    add("--progress", type=Path, help="JSON lines: finished runs to keep and to take")
    args = parser.parse_args(argv)
    args.argv = command.without_paths(argv)
    if args.results is None and not args.quick:
        args.results = records.RESULTS
    args.preset = args.preset or PRESET
    if args.quick:
        args.limit, args.epochs, args.seeds = 24, 1, 1
    return args


def _run(args, name: str, seed: int, progress: Progress) -> dict:
    """Train and measure once, unless that was done before."""
    key = {
        "set": name,
        "preset": args.preset,
        "seed": seed,
        "limit": args.limit,
        "epochs": args.epochs,
        "code": digest_training_code(),
    }
    run, origin = progress.find(key), "taken from the progress file"
    if run is None:
        run, origin = _train(args, SETS[name], seed), "new"
        progress.add(key, run)
    metric = SETS[name].metric
    found = run["figures"][metric]
    print(
        f"{name}, seed {seed}: {metric} {found:.4f}, {run['seconds']:.0f} s, {origin}",
        flush=True,
    )
    return run


def _train(args, own: Set, seed: int) -> dict:
    import kbert

    with tempfile.TemporaryDirectory() as scratch:
        given = own.give(data_folder(), Path(scratch))
        given |= {"seed": seed, "preset": args.preset, "out": Path(scratch) / "run"}
        if args.limit is not None:
            given["limit"] = args.limit
        started = time.perf_counter()
        run = kbert.train(**given, epochs=args.epochs)
        seconds = time.perf_counter() - started
        untrained = None
        if own.measures_untrained:
            untrained = _measure_untrained(run.task, given)
        report = json.loads((run.path / "report.json").read_text("utf-8"))
    if run.task.name != own.task:
        raise SystemExit(f"the data were taken for {run.task.name}, not {own.task}")
    return {
        "figures": _flatten(run.metrics),
        "untrained": untrained,
        "rows": report["data"]["rows"],
        "config": report["config"],
        "epochs": len(report["history"]),
        "kept_epoch": report["kept_epoch"],
        "train_seconds": report["seconds"]["train"],
        "seconds": seconds,
    }


def _measure_untrained(task: Any, given: dict[str, Any]) -> dict[str, float]:
    """Measure a model with an untrained head on the same rows."""
    import kbert
    from kbert.tasks import Request

    names = ("source", "test", "seed", "limit")
    splits = task.load(Request(**{k: given[k] for k in names if k in given}))
    kbert.set_seed(given["seed"])
    model = task.build(kbert.load_preset(given["preset"]), splits.label_names)
    predictions = task.predict(model, splits.test)
    return _flatten(task.measure(splits.test, predictions, splits.label_names))


def _flatten(metrics: dict[str, Any]) -> dict[str, float]:
    return {
        name: row["value"]
        for name, row in metrics.items()
        if isinstance(row, dict) and isinstance(row.get("value"), float)
    }


def _build_result(args, name: str, runs: list[dict]) -> dict:
    own = SETS[name]
    values = [run["figures"][own.metric] for run in runs]
    return {
        "workload": name,
        "against": "goal",
        "preset": args.preset,
        "task": own.task,
        "metric": own.metric,
        "goal": own.goal,
        "mean": statistics.fmean(values),
        "sd": statistics.stdev(values) if len(values) > 1 else None,
        "untrained": runs[0]["untrained"] and runs[0]["untrained"][own.metric],
        "seeds": list(range(args.seeds)),
        "rows": runs[0]["rows"],
        "limit": args.limit,
        "seconds": statistics.median(run["seconds"] for run in runs),
        "figures": {
            figure: statistics.fmean(run["figures"][figure] for run in runs)
            for figure in runs[0]["figures"]
        },
    }


def _build_record(args, name: str, runs: list[dict], result: dict) -> dict:
    return records.build_record(
        "own_data",
        f"{name}-{args.preset}",
        result,
        args,
        config={"preset": args.preset, "settings": runs[0]["config"]},
        samples_seconds={"kbert": [run["train_seconds"] for run in runs]},
        quality={"runs": [run["figures"] for run in runs]},
    )


if __name__ == "__main__":
    main()
