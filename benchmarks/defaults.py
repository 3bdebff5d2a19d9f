"""Defaults: do kbert's rules choose better settings than others would have?

Run:    python -m benchmarks.defaults --progress build/defaults.jsonl

Each side trains a classifier on the same few rows of each set, from the same weights,
and is measured on the same held-out rows; a seed draws the rows, the head's first
weights, the order of the rows and dropout. Sides differ only in their settings, which
are in the record:

- `kbert`: the rules of `kbert.runs.defaults`, which `kbert.train` follows;
- `documented`: those that the source of the nearest recipe states;
- `autogluon`: as AutoGluon's text predictor has them, its averaging of models left out;
- `trainer`: the Hugging Face Trainer's.

15 % of the rows are validation rows, for the sides that choose an epoch by them. On
each set sides are ranked by the mean over seeds of accuracy, or of macro F1 where
classes are uneven; the mean of the ranks over the sets decides. Texts are cut at
`--max-length` on every side, so that a run takes a minute or two.

With `--progress`, an interrupted run is taken up where it stopped.
"""

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np

from benchmarks import command, machine, measure, records
from benchmarks.defaults_sides import SIDES, Material, Training, train
from benchmarks.encoders import load_encoder
from benchmarks.progress import Progress, digest_training_code
from benchmarks.workloads import load_parts
from kbert.evaluation import accuracy, precision_recall_f1
from kbert.runs.defaults import choose_share


@dataclass(frozen=True)
class Measured:
    """How a set is used.

    Args:
        metric: that sides are ranked by, `accuracy` or `f1_macro`.
        held_out: file of the rows to measure on, if not the workload's own.
        rows: to train and validate on, over `--rows`.
    """

    metric: str = "accuracy"
    held_out: str | None = None
    rows: int = 1


SETS = {
    "tweets": Measured(),
    "spam": Measured("f1_macro"),
    "mrpc": Measured("f1_macro", "mrpc/test.csv"),
    "sst2": Measured(rows=2),
    "amazon": Measured(held_out="amazon/polarity_test.csv"),
    "imdb": Measured(),
}


def main(argv: list[str] | None = None) -> dict:
    """Compare the sides as the command line asks; return the result."""
    args = _parse(argv)
    machine.prepare_process(args.device)
    progress = Progress(args.progress)
    runs: dict[str, dict[str, list[dict]]] = {
        name: {side: [] for side in args.sides} for name in args.sets
    }
    for seed in range(args.seeds):
        for name in args.sets:
            material = load_material(args, name, seed)
            for side in args.sides:
                runs[name][side].append(_run(args, material, side, seed, progress))
    result = _build_result(args, runs)
    for side, rank in result["mean_ranks"].items():
        print(f"{side}: mean rank {rank:.2f} of {len(args.sides)}")
    return records.finish(_build_record(args, runs, result), args.results)


def _parse(argv) -> argparse.Namespace:
    parser = command.build_parser(__doc__, repeats=None)
    add = parser.add_argument
    add("--sets", nargs="+", choices=tuple(SETS), default=list(SETS))
    add("--sides", nargs="+", choices=tuple(SIDES), default=list(SIDES))
    add("--rows", type=command.count, default=400, help="twice as many of SST-2")
    add("--held-out", type=command.count, default=500, help="most rows to measure on")
    add("--max-length", type=command.count, default=64, help="tokens, on every side")
    add("--seeds", type=command.count, default=1, help="runs a side, seeds from 0 on")
    add("--preset", help="preset, folder, or NAME-random; default the embedded one")
    add("--device", choices=("cpu", "cuda"), default="cpu")
    add("--precision", choices=("auto", "float32", "bfloat16"), default="auto")
    add("--progress", type=Path, help="JSON lines: finished runs to keep and to take")
    args = command.parse(parser, argv)
    if args.quick:
        args.rows, args.held_out = min(args.rows, 40), min(args.held_out, 20)
        args.max_length = min(args.max_length, 16)
    return args


def load_material(args: argparse.Namespace, name: str, seed: int) -> Material:
    """Draw the rows of a set.

    Args:
        args: the flags.
        name: key of `SETS`.
        seed: of the draw.

    Returns:
        The rows, the same for every side.
    """
    from kbert.text import Preprocessor

    measured = SETS[name]
    workload, rows, rest = load_parts(name, held_out=measured.held_out)
    preset = load_encoder(args.preset)
    generator = np.random.default_rng(seed)
    rows = generator.permutation(rows)[: args.rows * measured.rows]
    held_out = generator.permutation(rest)[: args.held_out]
    cut = len(rows) - round(len(rows) * choose_share(len(rows)))
    longest = preset.config.max_sequence_length
    encode = Preprocessor(preset.tokenizer, max_length=longest).encode
    taken = workload.take(rows[:cut])
    texts = (
        (taken,) if workload.text_pairs is None else map(list, zip(*taken, strict=True))
    )
    return Material(
        workload=workload,
        preset=preset,
        train=rows[:cut],
        validation=rows[cut:],
        held_out=held_out,
        lengths=encode(*texts).full_lengths,
        longest=min(args.max_length, longest),
    )


def _run(args, material: Material, side: str, seed: int, progress: Progress) -> dict:
    """Train and measure once, unless that was done before."""
    training = SIDES[side](material)
    key = _build_key(args, material, training, seed)
    run, origin = progress.find(key), "taken from the progress file"
    if run is None:
        run, origin = _train(args, material, training, seed), "new"
        progress.add(key, run)
    metric = SETS[material.workload.name].metric
    print(
        f"{material.workload.name}, seed {seed}, {side}: {metric} {run[metric]:.4f}, "
        f"{run['epochs']} of {training.epochs} epochs, {run['seconds']:.0f} s, "
        f"{origin}",
        flush=True,
    )
    return run


def _build_key(args, material: Material, training: Training, seed: int) -> dict:
    """Return all that a run's figures depend on."""
    parts = (material.train, material.validation, material.held_out)
    workload, preset = material.workload, material.preset
    return {
        "workload": [workload.name, workload.data, *map(len, parts)],
        "preset": [preset.name, preset.source],
        "training": training.to_json(),
        "seed": seed,
        "device": [args.device, args.precision],
        "code": digest_training_code(),
        "torch": version("torch"),
    }


def _train(args, material: Material, training: Training, seed: int) -> dict:
    trained = train(material, training, seed, args.precision)
    labels = material.workload.labels[material.held_out]
    return {
        "set": material.workload.name,
        "seed": seed,
        **measure_held_out(labels, trained["probabilities"]),
        "epochs": len(trained["history"]["loss"]),
        "history": trained["history"],
        "seconds": trained["seconds"],
        "precision": trained["precision"],
        "training": training.to_json(),
        "rows": [len(material.train), len(material.validation), len(labels)],
        "data": material.workload.data,
        "is_real": material.workload.is_real,
        "majority": float(np.bincount(labels).max() / len(labels)),
        "utc": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def measure_held_out(labels: np.ndarray, probabilities: np.ndarray) -> dict:
    """Return `accuracy` and `f1_macro` of probabilities (n, num_classes)."""
    f1 = precision_recall_f1(labels, probabilities, average="macro")[2]
    return {"accuracy": accuracy(labels, probabilities), "f1_macro": float(f1)}


def rank(values: Sequence[float]) -> list[float]:
    """Rank values, the highest first; equal ones share the mean of their ranks.

    Args:
        values: one a side.

    Returns:
        Ranks from 1 on.
    """
    rounded = [round(value, 9) for value in values]
    return [
        1 + sum(other > one for other in rounded) + (rounded.count(one) - 1) / 2
        for one in rounded
    ]


def _build_result(args, runs: dict[str, dict[str, list[dict]]]) -> dict:
    sets = {name: _sum_up(SETS[name].metric, own) for name, own in runs.items()}
    mean_ranks = {
        side: statistics.fmean(found["sides"][side]["rank"] for found in sets.values())
        for side in args.sides
    }
    every = [run for own in runs.values() for one in own.values() for run in one]
    return {
        "workload": ", ".join(sets),
        "against": [side for side in args.sides if side != "kbert"],
        "preset": args.preset,
        "sets": sets,
        "mean_ranks": mean_ranks,
        "best": [
            side for side in args.sides if mean_ranks[side] == min(mean_ranks.values())
        ],
        "seeds": list(range(args.seeds)),
        "max_length": args.max_length,
        "precision": every[0]["precision"],
        "real_texts": all(run["is_real"] for run in every),
    }


def _sum_up(metric: str, runs: dict[str, list[dict]]) -> dict:
    """Put together the runs of one set."""
    values = {side: [run[metric] for run in own] for side, own in runs.items()}
    means = {side: statistics.fmean(own) for side, own in values.items()}
    ranks = dict(zip(means, rank(list(means.values())), strict=True))
    train_rows, validation, held_out = next(iter(runs.values()))[0]["rows"]
    return {
        "metric": metric,
        "sides": {
            side: {
                "values": values[side],
                "mean": means[side],
                "sd": statistics.stdev(values[side]) if len(own) > 1 else None,
                "rank": ranks[side],
                "seconds": statistics.median(run["seconds"] for run in own),
                "epochs": [run["epochs"] for run in own],
                "training": own[0]["training"],
            }
            for side, own in runs.items()
        },
        "rows": {"train": train_rows, "validation": validation, "held_out": held_out},
        "data": next(iter(runs.values()))[0]["data"],
    }


def _build_record(args, runs: dict[str, dict[str, list[dict]]], result: dict) -> dict:
    seconds = {
        f"{name}, {side}": [run["seconds"] for run in own]
        for name, sides in runs.items()
        for side, own in sides.items()
    }
    texts = {
        f"{name}, {side}": [run["rows"][0] * run["epochs"] for run in own]
        for name, sides in runs.items()
        for side, own in sides.items()
    }
    return records.build_record(
        "defaults",
        args.preset,
        result,
        args,
        config={
            "preset": args.preset,
            "sequence_length": args.max_length,
            "batch_size": None,
            "dtype": result["precision"],
            "device": args.device,
        },
        warmup_steps=0,
        samples_seconds=seconds,
        examples_per_second={
            name: measure.summarize_rate(statistics.fmean(texts[name]), values)
            for name, values in seconds.items()
        },
        quality={"metric": "mean rank", "values": result["mean_ranks"]},
        runs=[
            {"side": side, **run}
            for sides in runs.values()
            for side, own in sides.items()
            for run in own
        ],
    )


if __name__ == "__main__":
    main()
