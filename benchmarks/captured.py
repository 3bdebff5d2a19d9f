"""Captured steps: kbert's recorded training steps against the same kernel by kernel.

Run:    python -m benchmarks.captured --workload tweets --device cuda

First without dropout: the losses of every step and the weights at the end must agree,
or the run ends with exit status 1 and nothing is timed. Then both train in turn on the
same rows; the clock starts when the shapes that come most have been recorded, and what
recording took is told apart. Without a GPU nothing is recorded, and it says so.
"""

import statistics
import sys
from pathlib import Path

import numpy as np

from benchmarks import command, keras_sides, machine, measure, plans, records
from benchmarks.tasks import StepClock, build_task
from benchmarks.training import measure_loss

# bfloat16 products of other shapes round otherwise, and Adam's first steps are of the
# learning rate's size whatever the gradient's.
WEIGHT_TOLERANCE = 2e-4
LOSS_TOLERANCE = 0.02
_NUM_CHECKED = 30


class _Side(keras_sides.KbertSide):
    """kbert with its steps recorded, or not."""

    def __init__(self, task, is_captured: bool):
        super().__init__(task)
        self.name = "captured" if is_captured else "eager"
        self.is_captured = is_captured
        self.losses: list = []
        self.num_replays, self.recording_seconds = 0, 0.0

    def train(self, rows: np.ndarray, num_warmup: int):
        """Train on the rows in their order; see `tasks.Side`."""
        import keras

        keras_sides.assign_weights(self.model, self.task.weights)
        self.model.compile(
            self.build_optimizer(),
            keras_sides.LOSS,
            jit_compile="auto" if self.is_captured else False,
        )
        num_steps = len(rows) // self.task.batch_size
        clock = StepClock(num_warmup, num_steps, self.task.device)
        watch = keras.callbacks.LambdaCallback(on_train_end=self._look)
        size = self.task.batch_size
        texts, labels, _ = self.prepare(rows)
        self.model.fit(
            texts,
            labels,
            batch_size=size,
            shuffle=False,
            verbose=0,
            callbacks=[keras_sides.build_callback(clock), watch],
        )
        return clock.seconds

    def _look(self, logs=None):
        captured = self.model._captured
        self.losses.append(float(logs["loss"]))
        if captured is not None:
            self.num_replays = captured.num_replays
            self.recording_seconds = captured.recording_seconds


def main(argv: list[str] | None = None) -> dict:
    """Compare as the command line asks; return the result."""
    args = _parse(argv)
    machine.prepare_process(args.device)
    from kbert.engine import capture

    if args.most_tokens:
        capture.MOST_TOKENS = args.most_tokens
    task = build_task(**command.task_options(args))
    sides = _Side(task, True), _Side(task, False)
    errors = _check(task, sides, args)
    seconds: tuple = ([], [])
    misses = [name for name, (error, limit) in errors.items() if not error <= limit]
    if not misses:
        seconds = _time(task, sides, args)
    result = _build_result(args, task, sides, seconds) | {
        "errors": {name: error for name, (error, _) in errors.items()},
        "misses": misses,
    }
    record = records.build_record(
        "captured",
        f"{args.workload}-{args.batch_size}-{task.preset.name}",
        result,
        args,
        config={
            "preset": task.preset.name,
            "sequence_length": task.max_length,
            "batch_size": task.batch_size,
            "dtype": sides[0].settings["precision"],
            "device": task.device,
            "data": task.workload.data,
        },
        warmup_steps=args.warmup,
        timed_steps=args.steps,
        samples_seconds={"captured": seconds[0], "eager": seconds[1]},
    )
    return records.finish(record, args.results)


def _parse(argv):
    parser = command.build_parser(__doc__)
    command.add_model_flags(parser, workload="tweets")
    add = parser.add_argument
    add("--steps", type=command.count, help="timed steps a repeat; default 100")
    add("--most-tokens", type=command.count, help="record steps of so many tokens, too")
    args = command.parse(parser, argv)
    args.steps = args.steps or (2 if args.quick else 100)
    args.warmup = 2 if args.quick else 60
    return args


def _plan(task, num_warmup: int, num_timed: int, seed: int):
    return plans.build_plan(
        task.lengths,
        batch_size=task.batch_size,
        num_warmup=num_warmup,
        num_timed=num_timed,
        seed=seed,
    )


def _check(task, sides, args) -> dict[str, tuple[float, float]]:
    """Return the largest differences without dropout, each with what it may be."""
    num_steps = 4 if args.quick else _NUM_CHECKED
    rows = _plan(task, 1, num_steps - 1, seed=1).ours
    weights = []
    for side in sides:
        with _without_dropout(side.model):
            side.train(rows, 1)
        weights.append([np.array(one) for one in side.model.get_weights()])
    differences = [np.abs(a - b).max() for a, b in zip(*weights, strict=True)]
    names = [weight.path for weight in sides[0].model.weights]
    kept = [d for d, n in zip(differences, names, strict=True) if "key/bias" not in n]
    losses = abs(sides[0].losses[-1] - sides[1].losses[-1])
    errors = {
        "weights": (float(max(kept)), WEIGHT_TOLERANCE),
        "loss": (losses, LOSS_TOLERANCE),
    }
    for name, (error, limit) in errors.items():
        print(f"{'ok' if error <= limit else 'MISS'}: {name}: {error:.2e}")
    print(f"replayed: {sides[0].num_replays} of {num_steps} steps")
    return errors


class _without_dropout:
    """Leave dropout out of a model within a block."""

    def __init__(self, model):
        self.model = model

    def __enter__(self):
        import dataclasses

        backbone = self.model.backbone
        self.config = backbone.config
        backbone.config = dataclasses.replace(self.config, dropout=0.0)
        self.layers = [(x, x.rate) for x in self.model.layers if hasattr(x, "rate")]
        for layer, _ in self.layers:
            layer.rate = 0.0

    def __exit__(self, *raised):
        self.model.backbone.config = self.config
        for layer, rate in self.layers:
            layer.rate = rate


def _time(task, sides, args):
    plan = _plan(task, args.warmup, args.steps, seed=0)

    def go(side):
        seconds = side.train(plan.ours, plan.num_warmup)
        loss = measure_loss(side.predict(plan.held_out), task, plan.held_out)
        side.held_out_loss = loss
        milliseconds = seconds / args.steps * 1000
        print(f"{side.name}: {milliseconds:.2f} ms a step, held-out loss {loss:.4f}")
        return seconds

    return measure.interleave(lambda: go(sides[0]), lambda: go(sides[1]), args.repeats)


def _build_result(args, task, sides, seconds) -> dict:
    result = {
        "workload": args.workload,
        "against": "eager",
        "preset": Path(task.preset.name).name,
        "ratio": None,
        "real_texts": task.workload.is_real,
        "num_replays": sides[0].num_replays,
        "recording_seconds": sides[0].recording_seconds,
    }
    if not sides[0].num_replays:
        print("Nothing was recorded: both sides ran the same.")
    elif seconds[0]:
        result |= measure.compare(*seconds)
    if seconds[0]:
        texts = args.steps * task.batch_size
        result["texts_per_second"] = {
            side.name: texts / statistics.median(own)
            for side, own in zip(sides, seconds, strict=True)
        }
        result["loss"] = {side.name: side.held_out_loss for side in sides}
    return result


if __name__ == "__main__":
    sys.exit(bool(main()["misses"]))
