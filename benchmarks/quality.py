"""Quality: is the model as good as the Trainer's, or as float32's?

Run:    python -m benchmarks.quality --workload mrpc --progress build/quality.jsonl

Both sides train whole workloads from the same weights with the same settings: batches
of 32, AdamW falling to 0 in a line, decay .01, gradient norm clipped at 1, dropout .1.
A seed sets the head's first weights, the order of the rows and dropout; each side draws
the latter two in its own way. The task's figures on held-out rows are compared by their
means over the seeds: a difference is within noise when it is below one standard
deviation, pooled over both sides. Sentences and questions that take several windows are
cut into the same ones on both sides, and put together by the same code.

`--against trainer` is the Trainer with dynamic padding and its defaults, in float32;
`--against float32` compares kbert in bfloat16 with kbert in float32. On a CPU whose
bfloat16 products are hopelessly slow they are emulated, and the record says so.

With `--progress`, an interrupted run is taken up where it stopped.
"""

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np

from benchmarks import command, machine, measure, records
from benchmarks.encoders import load_encoder, make_weights
from benchmarks.progress import Progress, digest_training_code
from benchmarks.tasks import Task
from benchmarks.verdicts import compare_seeds, find_baseline, judge, measure_workload
from benchmarks.workloads import SOURCES, load_parts

# As the sources of the workloads train; those without a source as suits the embedded
# encoder, which is small.
_LEARNING_RATES = {"mrpc": 5e-5, "ner": 3e-4, "stsb": 1e-4, "squad": 3e-4}
_EPOCHS = {"tweets": 4, "ner": 2, "squad": 2}
_EMULATED = (
    "emulated: computed in float32 and rounded to bfloat16, because this CPU's own "
    "bfloat16 products are hopelessly slow"
)


@dataclass(frozen=True)
class Side:
    """One side of the comparison.

    Args:
        name: in the result.
        trainer: `kbert` or `trainer-dynamic`.
        precision: of the matrix products, `float32` or `bfloat16`.
        is_emulated: whether those products are emulated.
    """

    name: str
    trainer: str
    precision: str
    is_emulated: bool


@dataclass(frozen=True)
class Parts:
    """What all runs have in common: a task, its rows and its held-out rows."""

    task: Task
    train: np.ndarray
    held_out: np.ndarray


def main(argv: list[str] | None = None) -> dict:
    """Compare as the command line asks; return the result."""
    args = _parse(argv)
    machine.prepare_process(args.device)
    parts = _load(args)
    sides = _choose_sides(args)
    _announce(args, parts, sides)
    progress = Progress(args.progress)
    runs: tuple[list[dict], list[dict]] = ([], [])
    for seed in range(args.seeds):
        order = (0, 1) if seed % 2 == 0 else (1, 0)
        for place in order:
            runs[place].append(_run(args, parts, sides[place], seed, progress))
    result = _build_result(args, parts, sides, runs)
    for metric in result["metrics"]:
        print(_describe(metric, result))
    if not result["has_learned"]:
        print("neither side is better than without training: this shows nothing")
    return records.finish(_build_record(args, parts, sides, runs, result), args.results)


def _parse(argv) -> argparse.Namespace:
    parser = command.build_parser(__doc__, repeats=None)
    command.add_model_flags(parser, workload="tweets", all_tasks=True)
    add = parser.add_argument
    add("--against", choices=("trainer", "float32"), default="trainer")
    add("--epochs", type=command.count, help="default by workload, 2 to 4")
    add("--seeds", type=command.count, default=3, help="runs a side, seeds from 0 on")
    add("--learning-rate", type=float, help="default by workload, 2e-5 to 3e-4")
    add("--limit", type=command.count, help="most rows of either part; default all")
    add("--progress", type=Path, help="JSON lines: finished runs to keep and to take")
    args = command.parse(parser, argv)
    if SOURCES[args.workload].joined > 1:
        parser.error(f"--workload {args.workload} has no labels of its own texts")
    if args.against == "float32" and args.precision != "auto":
        parser.error("--against float32 compares bfloat16; leave --precision out")
    if args.quick:
        args.seeds, args.limit = min(args.seeds, 2), args.limit or 24
        args.epochs = args.epochs or 1
    args.epochs = args.epochs or _EPOCHS.get(args.workload, 3)
    args.learning_rate = args.learning_rate or _LEARNING_RATES.get(args.workload, 2e-5)
    return args


def _load(args) -> Parts:
    workload, train, held_out = load_parts(
        args.workload, max_length=args.max_length, limit=args.limit
    )
    preset = load_encoder(args.preset, num_layers=args.num_layers)
    # Weights and precision are set for each run.
    task = Task(workload, preset, {}, args.batch_size, args.device, args.precision)
    return Parts(task, train, held_out)


def _choose_sides(args) -> tuple[Side, Side]:
    import torch

    from benchmarks.emulation import needs_emulation
    from kbert.engine.precision import resolve_precision

    def build_ours(name: str, precision) -> Side:
        dtype = resolve_precision(precision, torch.device(args.device))
        emulated = needs_emulation(args.device, dtype)
        return Side(name, "kbert", str(dtype).removeprefix("torch."), emulated)

    if args.against == "float32":
        names = "bfloat16", "float32"
        ours, theirs = (build_ours(f"kbert {name}", name) for name in names)
        return ours, theirs
    theirs = Side("trainer-dynamic", "trainer-dynamic", "float32", False)
    return build_ours("kbert", args.precision), theirs


def _announce(args, parts: Parts, sides: Sequence[Side]) -> None:
    workload, preset = parts.task.workload, parts.task.preset
    print(
        f"workload: {workload.name}, {len(parts.train)} rows to train on and "
        f"{len(parts.held_out)} held out, of {workload.data}"
    )
    print(f"encoder: {preset.name} ({preset.source})")
    print(
        f"settings: {args.epochs} epochs, learning rate {args.learning_rate:g}, "
        f"batches of {args.batch_size}, seeds 0 to {args.seeds - 1}"
    )
    for side in sides:
        if side.is_emulated:
            print(f"products of {side.name}: {_EMULATED}")


def _run(args, parts: Parts, side: Side, seed: int, progress: Progress) -> dict:
    """Train and measure once, unless that was done before."""
    key = _build_key(args, parts, side, seed)
    run = progress.find(key)
    origin = "taken from the progress file"
    if run is None:
        run, origin = _train(args, parts, side, seed), "new"
        progress.add(key, run)
    metrics = parts.task.problem.metrics
    shown = ", ".join(f"{metric} {run[metric]:.4f}" for metric in metrics)
    print(
        f"{side.name}, seed {seed}: {shown}, {run['seconds']:.1f} s, {origin}",
        flush=True,
    )
    # The same run may be a side of another comparison under another name.
    return run | {"side": side.name}


def _build_key(args, parts: Parts, side: Side, seed: int) -> dict:
    """Return all that a run's figures depend on."""
    workload, preset = parts.task.workload, parts.task.preset
    code = f"transformers {version('transformers')}"
    return {
        "workload": [workload.name, workload.data, len(parts.train)],
        "held_out": len(parts.held_out),
        "max_length": workload.max_length,
        "preset": [preset.name, preset.source, args.num_layers],
        "settings": [args.epochs, args.learning_rate, args.batch_size],
        "seed": seed,
        "side": [side.trainer, side.precision, side.is_emulated],
        "device": args.device,
        "code": digest_training_code() if side.trainer == "kbert" else code,
        "torch": version("torch"),
    }


def _train(args, parts: Parts, side: Side, seed: int) -> dict:
    from benchmarks.quality_sides import Recipe, train_kbert, train_trainer

    weights = make_weights(parts.task.preset, parts.task.workload.num_classes, seed)
    task = replace(parts.task, weights=weights, precision=side.precision)
    recipe = Recipe(args.learning_rate, args.epochs, seed)
    if side.trainer == "kbert":
        trained = train_kbert(
            task, recipe, parts.train, parts.held_out, side.is_emulated
        )
    else:
        trained = train_trainer(task, recipe, parts.train, parts.held_out)
    if side.is_emulated and not trained.num_emulated:
        raise RuntimeError(f"no product of {side.name} was emulated; look for them.")
    held_out = task.workload.select(parts.held_out)
    return measure_workload(held_out, trained.predictions) | {
        "seed": seed,
        "seconds": trained.seconds,
        "steps": trained.num_steps,
        "emulated_products": trained.num_emulated,
        "utc": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _describe(metric: str, result: dict) -> str:
    found, names = result["metrics"][metric], result["sides"]
    shown = " against ".join(
        f"{name} {found[name]['mean']:.4f} ± {found[name]['sd'] or 0:.4f}"
        for name in names
    )
    verdict = {None: "one seed tells nothing", True: "within", False: "NOT within"}
    one_sd = "" if found["within_one_sd"] is None else " one standard deviation"
    return f"{metric}: {shown}, {verdict[found['within_one_sd']]}{one_sd}"


def _build_result(args, parts: Parts, sides, runs) -> dict:
    names = [side.name for side in sides]
    metrics = {}
    for metric in parts.task.problem.metrics:
        values = [[run[metric] for run in one] for one in runs]
        found = compare_seeds(*values)
        each = zip(names, values, found.pop("mean"), found.pop("sd"), strict=True)
        metrics[metric] = found | {
            name: {"values": one, "mean": mean, "sd": sd}
            for name, one, mean, sd in each
        }
    baseline = find_baseline(parts.task.workload.select(parts.held_out))
    first = next(iter(metrics.values()))
    has_learned, within = judge(
        [found["within_one_sd"] for found in metrics.values()],
        [first[name]["mean"] for name in names],
        baseline,
    )
    texts = len(parts.train) * args.epochs
    return {
        "workload": args.workload,
        "against": args.against,
        "preset": parts.task.preset.name,
        "sides": names,
        "seeds": list(range(args.seeds)),
        "metrics": metrics,
        "within_one_sd": within,
        "baseline": baseline,
        "has_learned": has_learned,
        "texts_per_second": {
            name: texts / statistics.median(run["seconds"] for run in one)
            for name, one in zip(names, runs, strict=True)
        },
        "precision": {side.name: side.precision for side in sides},
        "products": {
            side.name: _EMULATED if side.is_emulated else "as the device computes them"
            for side in sides
        },
        "is_emulated": any(side.is_emulated for side in sides),
        "rows": {"train": len(parts.train), "held_out": len(parts.held_out)},
        "limit": args.limit,
        "epochs": args.epochs,
        "learning_rate": args.learning_rate,
        "data": parts.task.workload.data,
        "real_texts": parts.task.workload.is_real,
    }


def _build_record(args, parts: Parts, sides, runs, result: dict) -> dict:
    task, names = parts.task, result["sides"]
    limited = f"-limit{args.limit}" if args.limit else ""
    seconds = {
        name: [run["seconds"] for run in one]
        for name, one in zip(names, runs, strict=True)
    }
    texts = len(parts.train) * args.epochs
    metric, found = next(iter(result["metrics"].items()))
    return records.build_record(
        "quality",
        f"{args.workload}-{args.against}-{task.preset.name}{limited}",
        result,
        args,
        config={
            "preset": task.preset.name,
            "sequence_length": task.max_length,
            "batch_size": task.batch_size,
            "dtype": sides[0].precision,
            "device": task.device,
            "data": task.workload.data,
            "encoder": task.preset.source,
            "epochs": args.epochs,
            "learning_rate": args.learning_rate,
        },
        warmup_steps=0,
        timed_steps=runs[0][0]["steps"],
        samples_seconds=seconds,
        examples_per_second={
            name: measure.summarize_rate(texts, values)
            for name, values in seconds.items()
        },
        quality={
            "metric": f"held-out {metric}",
            "seeds": result["seeds"],
            "values": {name: found[name]["values"] for name in names},
        },
        runs=[run for one in runs for run in one],
    )


if __name__ == "__main__":
    main()
