"""Frozen encoder: the spam task's whole training against stock Keras.

Run:    python -m benchmarks.frozen --epochs 10

Only the head (dense 512, ReLU, dropout, dense) trains. kbert gets texts and
`kbert.freeze(model)`; stock KerasHub gets arrays padded to 25 and
`backbone.trainable = False`. They run in turn, each in a process of its own; the clock
covers the whole `fit`. Every epoch costs stock
Keras the same, and it takes minutes, so `--their-epochs` may run fewer and multiply;
the record says so.
"""

import argparse
import statistics

from benchmarks import command, machine, measure, records
from benchmarks.children import Child
from benchmarks.tasks import Task, build_task


def main(argv: list[str] | None = None) -> dict:
    """Compare as the command line asks; return the result."""
    args = _parse(argv)
    machine.prepare_process(args.device)
    options = command.task_options(args) | {"limit": args.rows}
    task = build_task(**options)
    print(f"workload: {len(task.workload)} rows of {task.workload.data}")
    with (
        Child("frozen", "kbert", options) as ours,
        Child("frozen", "keras", options) as theirs,
    ):
        seconds = measure.interleave(
            lambda: _time(ours, args.epochs, args.epochs),
            lambda: _time(theirs, args.their_epochs, args.epochs),
            args.repeats,
        )
    samples = [[run["seconds"] for run in side] for side in seconds]
    medians = [statistics.median(one) for one in samples]
    names = ("kbert", "keras")
    rates = [args.epochs * len(task.workload) / one for one in medians]
    result = {
        "workload": "spam",
        "against": "keras",
        "preset": task.preset.name,
        **measure.compare(*samples),
        "texts_per_second": dict(zip(names, rates, strict=True)),
        "seconds": dict(zip(names, medians, strict=True)),
        "loss": {
            name: statistics.median(run["loss"] for run in side)
            for name, side in zip(names, seconds, strict=True)
        },
        "epochs": {"kbert": args.epochs, "keras": args.their_epochs},
        "real_texts": task.workload.is_real,
    }
    return records.finish(_build_record(args, task, result, samples), args.results)


def _parse(argv) -> argparse.Namespace:
    parser = command.build_parser(__doc__)
    command.add_model_flags(parser, workload="spam")
    add = parser.add_argument
    add("--epochs", type=int, help="passes over the rows; default 10")
    add("--their-epochs", type=int, help="of stock Keras; its time is scaled up")
    add("--rows", type=int, help="default 70 %% of the source, as its recipe trains on")
    args = command.parse(parser, argv)
    args.epochs = args.epochs or (2 if args.quick else 10)
    args.their_epochs = args.their_epochs or args.epochs
    args.rows = args.rows or (24 if args.quick else 3900)
    return args


def _time(child: Child, epochs: int, whole: int) -> dict:
    found = child.ask("fit", epochs=epochs, whole=whole)
    seconds, loss = found["seconds"], found["loss"]
    print(f"{child.name}: {seconds:.2f} s for {whole} epochs, loss {loss:.4f}")
    return found


def _build_record(args, task: Task, result: dict, samples) -> dict:
    names = ("kbert", "keras")
    texts = args.epochs * len(task.workload)
    return records.build_record(
        "frozen",
        f"spam-keras-{task.preset.name}",
        result,
        args,
        config={
            "preset": task.preset.name,
            "sequence_length": task.max_length,
            "batch_size": task.batch_size,
            "dtype": task.precision,
            "device": task.device,
            "data": task.workload.data,
            "rows": len(task.workload),
        },
        warmup_steps=0,
        timed_steps=args.epochs * -(-len(task.workload) // task.batch_size),
        samples_seconds=dict(zip(names, samples, strict=True)),
        examples_per_second={
            name: measure.summarize_rate(texts, values)
            for name, values in zip(names, samples, strict=True)
        },
        quality={"metric": "training loss", "seeds": [0], "values": result["loss"]},
    )


if __name__ == "__main__":
    main()
