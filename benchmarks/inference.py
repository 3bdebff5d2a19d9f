"""Inference: kbert's `predict` against what else predicts on sorted batches.

Run:    python -m benchmarks.inference --workload tweets --against transformers

From raw texts in the caller's order to probabilities in that order, tokenizing included
(stock Keras gets its texts tokenized and padded before the clock starts). The sides run
in turn, each in a process of its own, and the largest difference of their probabilities
is reported.
"""

import argparse
import statistics

import numpy as np

from benchmarks import (
    command,
    inference_sides,
    machine,
    measure,
    memory,
    operations,
    records,
)
from benchmarks.children import PredictingChild
from benchmarks.tasks import Task, build_task
from benchmarks.training import measure_loss


def main(argv: list[str] | None = None) -> dict:
    """Compare as the command line asks; return the result."""
    args = _parse(argv)
    machine.prepare_process(args.device)
    options = command.task_options(args) | {"limit": args.texts}
    task = build_task(**options)
    print(f"workload: {len(task.workload)} texts of {task.workload.data}")
    reason = inference_sides.why_not(args.against)
    if reason:
        print(f"{args.against}: not measured: {reason}")
        result = _describe(args, task) | {"ratio": None, "not_measured": reason}
        return records.finish(_build_record(args, task, result, {}), args.results)
    peaks = machine.measure_matrix_peaks(task.device, quick=args.quick)
    with (
        PredictingChild("kbert", options) as ours,
        PredictingChild(args.against, options) as theirs,
    ):
        sides = ours, theirs
        outputs = [side.predict() for side in sides]  # not timed
        seconds = measure.interleave(
            lambda: _time(ours), lambda: _time(theirs), args.repeats
        )
    difference = float(np.abs(outputs[0] - outputs[1]).max())
    result = _build_result(args, task, sides, seconds, peaks)
    result["largest_difference"] = difference
    every = np.arange(len(task.workload))
    losses = [measure_loss(one, task, every) for one in outputs]
    result["loss"] = dict(zip(("kbert", args.against), losses, strict=True))
    if args.memory:
        needs = memory.measure_predicting(options, sides)
        names = [side.name for side in sides]
        result["peak_memory_bytes"] = dict(zip(names, needs, strict=True))
    samples = {ours.name: seconds[0], args.against: seconds[1]}
    return records.finish(_build_record(args, task, result, samples), args.results)


def _parse(argv) -> argparse.Namespace:
    parser = command.build_parser(__doc__)
    command.add_model_flags(parser, workload="tweets")
    choices = tuple(inference_sides.PREDICTORS)
    parser.add_argument("--against", choices=choices, default="transformers")
    parser.add_argument("--texts", type=int, help="texts to predict; default 1024")
    parser.add_argument(
        "--no-memory", dest="memory", action="store_false", help="leave memory out"
    )
    args = command.parse(parser, argv)
    args.texts = args.texts or (24 if args.quick else 1024)
    return args


def _time(side: PredictingChild) -> float:
    side.predict()
    print(f"{side.name}: {side.seconds:.3f} s")
    return side.seconds


def _describe(args, task: Task) -> dict:
    return {
        "workload": args.workload,
        "against": args.against,
        "preset": task.preset.name,
        "real_texts": task.workload.is_real,
    }


def _build_result(args, task: Task, sides, seconds, peaks) -> dict:
    medians = [statistics.median(one) for one in seconds]
    names = [side.name for side in sides]
    tokens = int(task.lengths.sum())
    needed = operations.count_forward(task.preset.config, task.lengths)
    peak = peaks[sides[0].settings["precision"]]

    def both(values) -> dict:
        return dict(zip(names, values, strict=True))

    return _describe(args, task) | {
        **measure.compare(*seconds),
        "texts_per_second": both(len(task.workload) / one for one in medians),
        "tokens_per_second": both(tokens / one for one in medians),
        "matmul_share": needed / medians[0] / peak,
        "matrix_peak_flops": peaks,
        "machine": machine.sort_machine(peaks),
        "settings": both(side.settings for side in sides),
    }


def _build_record(args, task: Task, result: dict, samples: dict) -> dict:
    config = {"preset": task.preset.name, "sequence_length": task.max_length}
    config |= {"batch_size": task.batch_size, "device": task.device}
    config |= {"data": task.workload.data, "encoder": task.preset.source}
    config["dtype"] = result.get("settings", {}).get("kbert", {}).get("precision")
    count = len(task.workload)
    rates = {name: measure.summarize_rate(count, one) for name, one in samples.items()}
    return records.build_record(
        "inference",
        f"{args.workload}-{args.against}-{task.preset.name}",
        result,
        args,
        config=config,
        warmup_steps=1,
        timed_steps=-(-count // task.batch_size),
        samples_seconds=samples,
        peak_memory_bytes=result.get("peak_memory_bytes"),
        examples_per_second=rates,
    )


if __name__ == "__main__":
    main()
