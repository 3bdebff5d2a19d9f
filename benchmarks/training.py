"""Training: kbert against stock Keras and the Hugging Face Trainer.

Run:    python -m benchmarks.training --workload tweets --against trainer-best

Both sides start every repeat from the same weights with a fresh optimizer and make the
same number of updates on the same rows. They run in turn, each in a process of its own.
The clock runs from the end of the last warm-up step to the end of the last step,
loading of data included. kbert is given texts, and what it takes to tokenize the timed
ones is added, for it tokenizes ahead; its opponents are given tokens. Neither side logs
or saves or evaluates.
"""

import argparse
import statistics
from dataclasses import dataclass

import numpy as np

from benchmarks import command, machine, measure, memory, operations, plans, records
from benchmarks.children import TrainingChild
from benchmarks.opponents import GROUPED, OPPONENTS, PADDED, check_opponent
from benchmarks.tasks import WARMUP_STEPS, Side, Task, TrainingRun, build_task


@dataclass(frozen=True)
class Comparison:
    """What was run: runs and probabilities on the held-out rows, ours and theirs."""

    task: Task
    plan: plans.Plan
    sides: tuple[Side, Side]
    runs: tuple[list[TrainingRun], list[TrainingRun]]
    held_out_losses: tuple[list[float], list[float]]
    peaks: dict[str, float]
    trials: list[dict]

    @property
    def peak(self) -> float:
        """Best matrix product in kbert's precision, operations a second."""
        return self.peaks[self.sides[0].settings["precision"]]


def main(argv: list[str] | None = None) -> dict:
    """Compare as the command line asks; return the result."""
    args = _parse(argv)
    machine.prepare_process(args.device)
    import torch

    task = build_task(**command.task_options(args))
    _announce(args, task)
    try:
        comparison = _compare(args, task)
    except torch.OutOfMemoryError as error:  # a result too: it is kept
        return records.finish(_build_failure(args, task, error), args.results)
    _print_runs(comparison)
    peaks = [None, None]
    if args.memory:
        peaks = memory.measure_peaks(task, args, comparison.sides)
    result = build_result(args, comparison, peaks)
    record = _build_record(args, comparison, result)
    return records.finish(record, args.results)


def _parse(argv) -> argparse.Namespace:
    parser = command.build_parser(__doc__)
    command.add_model_flags(parser, workload="tweets", all_tasks=True)
    add = parser.add_argument
    add("--against", choices=OPPONENTS, default="trainer-best")
    add("--steps", type=int, help="timed steps a repeat; default by opponent")
    add("--no-memory", dest="memory", action="store_false", help="leave memory out")
    add(
        "--no-compile", dest="compile", action="store_false", help="never torch_compile"
    )
    args = command.parse(parser, argv)
    check_opponent(parser, args)
    if args.quick:
        args.compile, args.steps = False, args.steps or 2
    args.steps = args.steps or _default_steps(args)
    args.warmup = _count_warmup(args)
    return args


def _count_warmup(args) -> int:
    if args.quick:
        return 1
    if args.device == "cpu" and args.against in PADDED:
        return 1  # identical shapes need no more; a compiled model needs a few
    return WARMUP_STEPS[args.device]


def _default_steps(args) -> int:
    """Steps that cost the same need few; batches of different lengths need many."""
    if args.device == "cuda":
        return 50
    if args.against in PADDED:
        return 2 if args.workload in ("mrpc", "squad") else 5
    return 20 if args.workload in ("tweets", "mrpc", "ner", "stsb") else 8


def _announce(args, task: Task) -> None:
    workload = task.workload
    print(f"workload: {workload.name}, {len(workload)} rows of {workload.data}")
    print(f"encoder: {task.preset.name} ({task.preset.source})")
    print(f"steps: {args.warmup} not timed, {args.steps} timed, {args.repeats} repeats")


def _compare(args, task: Task) -> Comparison:
    def plan(num_timed: int, seed: int) -> plans.Plan:
        return plans.build_plan(
            task.lengths,
            batch_size=task.batch_size,
            num_warmup=args.warmup,
            num_timed=num_timed,
            grouped=args.against in GROUPED,
            seed=seed,
        )

    settings, trials = None, []
    if args.against == "trainer-best":
        from benchmarks.trainer_side import find_best_settings

        rows = plan(max(2, args.steps // 4), seed=1).theirs
        settings, trials = find_best_settings(
            task, rows, args.warmup, compile=args.compile
        )
    chosen = plan(args.steps, seed=0)
    options = command.task_options(args)
    before = machine.measure_matrix_peaks(task.device, quick=args.quick)
    with (
        TrainingChild("kbert", options) as ours,
        TrainingChild(args.against, options, settings) as theirs,
    ):
        sides = ours, theirs
        runs, losses = _run(task, chosen, sides, args.repeats)
    after = machine.measure_matrix_peaks(task.device, quick=args.quick)
    peaks = {name: max(before[name], after[name]) for name in before}
    return Comparison(task, chosen, sides, runs, losses, peaks, trials)


def _run(task: Task, plan: plans.Plan, sides, repeats: int):
    def go(side: Side, rows: np.ndarray):
        run = side.train(rows, plan.num_warmup)
        loss = measure_loss(side.predict(plan.held_out), task, plan.held_out)
        print(f"{side.name}: {run.seconds:.3f} s, held-out loss {loss:.4f}")
        return run, loss

    done = measure.interleave(
        lambda: go(sides[0], plan.ours), lambda: go(sides[1], plan.theirs), repeats
    )
    runs = tuple([run for run, _ in side] for side in done)
    return runs, tuple([loss for _, loss in side] for side in done)


def measure_loss(outputs: np.ndarray, task: Task, rows: np.ndarray) -> float:
    """Return the task's loss of outputs as `tasks.Side` gives them.

    The mean squared error of scores, else the mean cross-entropy: over rows, words, or
    first and last tokens.
    """
    labels, *weights = task.label(rows)
    if task.workload.kind == "regress":
        return float(((outputs[:, 0] - labels) ** 2).mean())
    chosen = np.take_along_axis(outputs, labels[..., None].astype("int64"), axis=-1)
    losses = -np.log(np.maximum(chosen[..., 0], 1e-12))
    return float(np.average(losses, weights=weights[0] if weights else None))


def build_result(args, comparison: Comparison, peaks: list[int | None]) -> dict:
    """Put together what the last line shows; `kbert` and the opponent side by side."""
    plan, task = comparison.plan, comparison.task
    seconds = [[run.seconds for run in side] for side in comparison.runs]
    lengths = task.lengths[plan.timed]
    whole = operations.count_training(task.preset.config, lengths, only_first=False)
    needed = whole
    if task.windows is None:  # a head on the first token
        needed = operations.count_training(task.preset.config, lengths)
    names = [side.name for side in comparison.sides]

    def both(values) -> dict:
        return dict(zip(names, values, strict=True))

    medians = [statistics.median(one) for one in seconds]
    return {
        "workload": args.workload,
        "against": args.against,
        "preset": comparison.task.preset.name,
        **measure.compare(*seconds),
        "texts_per_second": both(len(plan.timed) / one for one in medians),
        "tokens_per_second": both(int(lengths.sum()) / one for one in medians),
        "peak_memory_bytes": both(peaks),
        "matmul_share": needed / medians[0] / comparison.peak,
        "matmul_share_all_tokens": whole / medians[0] / comparison.peak,
        "matmul_share_against": needed / medians[1] / comparison.peak,
        "matrix_peak_flops": comparison.peaks,
        "machine": machine.sort_machine(comparison.peaks),
        "loss": both(map(statistics.median, comparison.held_out_losses)),
        "training_loss": both(
            statistics.median(run.training_loss for run in side)
            for side in comparison.runs
        ),
        "padding_share": _measure_padding(args, task, plan),
        "real_texts": task.workload.is_real,
        "settings": both(side.settings for side in comparison.sides),
    }


def _measure_padding(args, task: Task, plan: plans.Plan) -> dict[str, float]:
    """Return the shares of padding: as the source pads, and in their batches."""
    size = task.batch_size
    padded = args.against in PADDED
    rows = plan.theirs[plan.num_warmup * size :]
    computed = plans.count_padded_tokens(
        task.lengths, rows, size, task.max_length if padded else None
    )
    real = int(task.lengths[rows].sum())
    return {
        "documented": 1 - float(task.lengths.mean()) / task.max_length,
        "opponent": 1 - real / computed,
    }


def _build_record(args, comparison: Comparison, result: dict) -> dict:
    names = [side.name for side in comparison.sides]
    task = comparison.task
    texts = len(comparison.plan.timed)
    seconds = {
        name: [run.seconds for run in runs]
        for name, runs in zip(names, comparison.runs, strict=True)
    }
    whole = {
        name: [run.whole_seconds for run in runs]
        for name, runs in zip(names, comparison.runs, strict=True)
    }
    losses = dict(zip(names, comparison.held_out_losses, strict=True))
    return records.build_record(
        "training",
        f"{args.workload}-{args.against}-{task.preset.name}",
        result,
        args,
        config={
            "preset": task.preset.name,
            "sequence_length": task.max_length,
            "batch_size": task.batch_size,
            "dtype": comparison.sides[0].settings["precision"],
            "device": task.device,
            "data": task.workload.data,
            "encoder": task.preset.source,
        },
        warmup_steps=args.warmup,
        timed_steps=args.steps,
        samples_seconds=seconds,
        whole_seconds=whole,
        examples_per_second={
            name: measure.summarize_rate(texts, values)
            for name, values in seconds.items()
        },
        peak_memory_bytes=result["peak_memory_bytes"],
        quality={"metric": "held-out loss", "seeds": [0], "values": losses},
        trials=comparison.trials,
    )


def _build_failure(args, task: Task, error: Exception) -> dict:
    reason = f"out of memory: {str(error).splitlines()[0][:160]}"
    print(reason)
    preset = task.preset.name
    result = {"workload": args.workload, "against": args.against, "preset": preset}
    result |= {"ratio": None, "not_measured": reason}
    result |= {"real_texts": task.workload.is_real}
    config = {"preset": preset, "device": task.device, "dtype": task.precision}
    config |= {"sequence_length": task.max_length, "batch_size": task.batch_size}
    variant = f"{args.workload}-{args.against}-{preset}"
    return records.build_record("training", variant, result, args, config=config)


def _print_runs(comparison: Comparison) -> None:
    for side, runs in zip(comparison.sides, comparison.runs, strict=True):
        median = statistics.median(run.seconds for run in runs)
        per_step = median / comparison.plan.num_timed * 1000
        print(f"{side.name}: {per_step:.1f} ms a step; {side.settings}")
    for precision, peak in comparison.peaks.items():
        print(f"best matrix product, {precision}: {peak / 1e9:.1f} GFLOP/s")


if __name__ == "__main__":
    main()
