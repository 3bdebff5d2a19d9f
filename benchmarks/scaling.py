"""Scaling: how kbert's training time grows with rows, length, batch and depth.

Run:    python -m benchmarks.scaling --axis rows batch

For each axis the seconds per token are measured at several sizes and a power law is
fitted to the seconds per row (per epoch for rows): an exponent of 1 is linear, 0 is
flat. Sizes are run in turn, forth and back, so that drift does not look like growth.
"""

import argparse
import statistics
from pathlib import Path

import numpy as np

from benchmarks import command, keras_sides, machine, plans, records
from benchmarks.tasks import build_task, repeat_rows

_SIZES = {
    "rows": (1000, 2500, 5000, 10_000, 25_000),
    "length": (32, 64, 128, 256, 512),
    "batch": (8, 16, 32, 64, 128),
    "depth": (2, 4, 6, 12),
}
_QUICK_SIZES = {"rows": (8, 16), "length": (8, 16), "batch": (2, 4), "depth": (1, 2)}
_STEP_TEXTS = 320  # texts timed at each length, batch size and depth


def main(argv: list[str] | None = None) -> dict:
    """Measure as the command line asks; return the result."""
    args = _parse(argv)
    machine.prepare_process(args.device)
    axes = {axis: _measure_axis(axis, args) for axis in args.axis}
    for axis, found in axes.items():
        exponent, spread = found["exponent"], found["spread"]
        print(f"{axis}: exponent {exponent:.3f}, time per token within {spread:.1%}")
    result = {"workload": args.workload, "against": None, "axes": axes}
    result["preset"] = Path(args.preset).name
    record = records.build_record(
        "scaling",
        f"{args.workload}-{'-'.join(args.axis)}-{Path(args.preset).name}",
        result,
        args,
        config={
            "preset": Path(args.preset).name,
            "batch_size": args.batch_size,
            "dtype": args.precision,
            "device": args.device,
        },
        warmup_steps=1,
    )
    return records.finish(record, args.results)


def _parse(argv) -> argparse.Namespace:
    parser = command.build_parser(__doc__)
    command.add_model_flags(parser, workload="tweets")
    parser.add_argument("--axis", nargs="+", choices=tuple(_SIZES), default=[*_SIZES])
    return command.parse(parser, argv)


def _measure_axis(axis: str, args) -> dict:
    sizes = (_QUICK_SIZES if args.quick else _SIZES)[axis]
    cases = [_build_case(axis, size, args) for size in sizes]
    samples: list[list[float]] = [[] for _ in sizes]
    for repeat in range(args.repeats):
        places = range(len(sizes)) if repeat % 2 == 0 else reversed(range(len(sizes)))
        for place in places:
            side, rows = cases[place]
            samples[place].append(side.train(rows, 1).seconds)
    seconds = [statistics.median(one) for one in samples]
    texts, tokens = zip(*(_count(side, rows) for side, rows in cases), strict=True)
    per_token = [one / count for one, count in zip(seconds, tokens, strict=True)]
    grown = seconds if axis == "rows" else np.array(seconds) / texts
    for size, one in zip(sizes, per_token, strict=True):
        print(f"{axis} {size}: {one * 1e6:.2f} µs a token")
    return {
        "sizes": sizes,
        "seconds_per_token": per_token,
        "samples_seconds": samples,
        "exponent": float(np.polyfit(np.log(sizes), np.log(grown), 1)[0]),
        "spread": max(per_token) / min(per_token) - 1,
    }


def _build_case(axis: str, size: int, args):
    """Return kbert's side and the rows to train on at one size of an axis."""
    options = command.task_options(args)
    num_texts = 8 if args.quick else _STEP_TEXTS
    if axis == "length":  # no padding: every row has exactly so many tokens
        options |= {"workload": "full", "max_length": size}
    elif axis == "batch":
        options["batch_size"] = size
        num_texts = max(num_texts, 4 * size)
    elif axis == "depth":
        name = "tiny-random" if args.quick else "minilm-random"
        options |= {"preset": name, "num_layers": size}
    elif axis == "rows":
        num_texts = size
    task = build_task(**options)
    batch_size = task.batch_size
    num_steps = 1 + max(1, num_texts // batch_size)
    if num_steps * batch_size > len(task.workload):
        task = repeat_rows(task, num_steps * batch_size)
    plan = plans.build_plan(
        task.lengths, batch_size=batch_size, num_warmup=1, num_timed=num_steps - 1
    )
    return keras_sides.KbertSide(task), plan.ours


def _count(side, rows) -> tuple[int, int]:
    timed = rows[side.task.batch_size :]
    return len(timed), int(side.task.lengths[timed].sum())


if __name__ == "__main__":
    main()
