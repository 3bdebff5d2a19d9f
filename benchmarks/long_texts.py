"""Long texts: what are head-tail and windows worth on texts that do not fit?

Run:    python -m benchmarks.long_texts --progress build/long_texts.jsonl

Each way trains a classifier on the same reviews, long and short, from the same weights
with the same settings, and predicts the same held-out reviews, which are all longer
than `--max-length` tokens. A way reads texts as it does in training also in prediction.
Batches of 32, AdamW falling to 0 in a line after a tenth of the steps of warm-up, decay
.01, gradient norm clipped at 1, dropout .1. The learning rate is one for few steps of a
small encoder. A seed sets the head's first weights, the order of the rows and dropout.

With `--progress`, an interrupted run is taken up where it stopped.
"""

import argparse
import gc
import statistics
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import command, machine, measure, records
from benchmarks.encoders import load_encoder
from benchmarks.progress import Progress, digest_training_code
from benchmarks.tasks import CLIP, DROPOUT, EPSILON, WEIGHT_DECAY
from benchmarks.workloads import Workload, load_parts
from kbert.evaluation import accuracy, log_loss
from kbert.presets import Preset

# What `kbert.build_classifier` is told in each way.
WAYS: dict[str, dict[str, Any]] = {
    "truncate": {"long_text": "truncate"},
    "head-tail": {"long_text": "head-tail"},
    "windows-mean": {"long_text": "windows", "window_pooling": "mean"},
    "windows-max": {"long_text": "windows", "window_pooling": "max"},
}
_WARMUP = 0.1
_LOSS = "sparse_categorical_crossentropy"


@dataclass(frozen=True)
class Texts:
    """What all ways train on and are measured with.

    Args:
        workload: texts and labels.
        preset: the encoder.
        train: rows to train on.
        held_out: rows over the longest length, to measure on.
        num_tokens: of each row, uncut.
    """

    workload: Workload
    preset: Preset
    train: np.ndarray
    held_out: np.ndarray
    num_tokens: np.ndarray


def main(argv: list[str] | None = None) -> dict:
    """Compare the ways as the command line asks; return the result."""
    args = _parse(argv)
    machine.prepare_process(args.device)
    texts = _load(args)
    print(
        f"{len(texts.train)} rows to train on and {len(texts.held_out)} held out, all "
        f"of these over {args.max_length} tokens, of {texts.workload.data}"
    )
    progress = Progress(args.progress)
    runs = {
        way: [_run(args, texts, way, seed, progress) for seed in range(args.seeds)]
        for way in args.ways
    }
    result = _build_result(args, texts, runs)
    return records.finish(_build_record(args, texts, runs, result), args.results)


def _parse(argv) -> argparse.Namespace:
    parser = command.build_parser(__doc__, repeats=None)
    command.add_model_flags(parser, workload="imdb")
    add = parser.add_argument
    add("--ways", nargs="+", choices=tuple(WAYS), default=list(WAYS))
    add("--epochs", type=command.count, default=2)
    add("--seeds", type=command.count, default=1, help="runs a way, seeds from 0 on")
    add("--learning-rate", type=float, default=2e-4)
    add("--rows", type=command.count, default=800, help="to train on")
    add("--held-out", type=command.count, default=800, help="most rows to measure on")
    add("--progress", type=Path, help="JSON lines: finished runs to keep and to take")
    args = command.parse(parser, argv)
    args.max_length = args.max_length or 256
    if args.quick:
        # Texts of the bundled sample are longer than this, too.
        args.max_length, args.rows, args.held_out, args.epochs = 16, 24, 24, 1
    return args


def _load(args) -> Texts:
    from kbert.text import Preprocessor

    workload, train, rest = load_parts(args.workload, max_length=args.max_length)
    if workload.text_pairs is not None:
        raise SystemExit(f"--workload {args.workload} has pairs, which have no windows")
    preset = load_encoder(args.preset, num_layers=args.num_layers)
    train = train[: args.rows]
    encode = Preprocessor(preset.tokenizer, max_length=args.max_length).encode
    num_tokens = np.zeros(len(workload), np.int64)
    for rows in (train, rest):
        num_tokens[rows] = encode(workload.take(rows)).full_lengths
    held_out = rest[num_tokens[rest] > args.max_length][: args.held_out]
    if not len(held_out):
        raise SystemExit(f"no held-out text has over {args.max_length} tokens")
    return Texts(workload, preset, train, held_out, num_tokens)


def _run(args, texts: Texts, way: str, seed: int, progress: Progress) -> dict:
    """Train and measure once, unless that was done before."""
    key = _build_key(args, texts, way, seed)
    run, origin = progress.find(key), "taken from the progress file"
    if run is None:
        run, origin = _train(args, texts, way, seed), "new"
        progress.add(key, run)
    print(
        f"{way}, seed {seed}: accuracy {run['accuracy']:.4f}, loss {run['loss']:.4f}, "
        f"{run['seconds']:.0f} s, {origin}",
        flush=True,
    )
    return run


def _build_key(args, texts: Texts, way: str, seed: int) -> dict:
    """Return all that a run's figures depend on."""
    return {
        "workload": [texts.workload.name, texts.workload.data],
        "rows": [len(texts.train), len(texts.held_out), args.max_length],
        "preset": [texts.preset.name, texts.preset.source, args.num_layers],
        "settings": [args.epochs, args.learning_rate, args.batch_size],
        "way": [way, WAYS[way]],
        "seed": seed,
        "device": [args.device, args.precision],
        "code": digest_training_code(),
        "torch": version("torch"),
    }


def _train(args, texts: Texts, way: str, seed: int) -> dict:
    import kbert

    gc.collect()
    workload = texts.workload
    kbert.set_seed(seed)
    model = kbert.build_classifier(
        texts.preset,
        num_classes=workload.num_classes,
        dropout=DROPOUT,
        max_length=args.max_length,
        clean=workload.clean,
        precision=args.precision,
        load_weights=bool(texts.preset.variables),  # none: random ones
        **WAYS[way],
    )
    optimizer = kbert.adamw(
        args.learning_rate,
        schedule="linear",
        warmup=_WARMUP,
        epochs=args.epochs,
        examples=len(texts.train),
        batch_size=args.batch_size,
        weight_decay=WEIGHT_DECAY,
        epsilon=EPSILON,
        global_clipnorm=CLIP,
    )
    model.compile(optimizer, _LOSS)
    started = time.perf_counter()
    model.fit(
        workload.take(texts.train),
        workload.labels[texts.train],
        batch_size=args.batch_size,
        epochs=args.epochs,
        verbose=0,
    )
    trained = time.perf_counter()
    probabilities = model.predict(workload.take(texts.held_out))
    labels = workload.labels[texts.held_out]
    return {
        "seed": seed,
        "accuracy": accuracy(labels, probabilities),
        "loss": log_loss(labels, probabilities),
        "correct": (probabilities.argmax(1) == labels).astype(int).tolist(),
        "tokens_read": _count_read(model.preprocessor, workload, texts),
        "precision": str(model.backbone.compute_precision).removeprefix("torch."),
        "seconds": trained - started,
        "prediction_seconds": time.perf_counter() - trained,
        "utc": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _count_read(preprocessor, workload: Workload, texts: Texts) -> float:
    """Return the share of the held-out texts' tokens that a way reads."""
    read = preprocessor.encode(workload.take(texts.held_out)).lengths
    return float(read.sum() / texts.num_tokens[texts.held_out].sum())


def _build_result(args, texts: Texts, runs: dict[str, list[dict]]) -> dict:
    baseline = next(iter(runs))
    ways = {}
    for way, own in runs.items():
        values = [run["accuracy"] for run in own]
        ways[way] = {
            "accuracy": statistics.fmean(values),
            "sd": statistics.stdev(values) if len(values) > 1 else None,
            "loss": statistics.fmean(run["loss"] for run in own),
            "tokens_read": own[0]["tokens_read"],
            "seconds": statistics.median(run["seconds"] for run in own),
            "prediction_seconds": statistics.median(
                run["prediction_seconds"] for run in own
            ),
            **_compare(own, runs[baseline]),
        }
    labels = texts.workload.labels[texts.held_out]
    return {
        "workload": texts.workload.name,
        "against": baseline,
        "preset": texts.preset.name,
        "ways": ways,
        "majority_accuracy": float(np.bincount(labels).max() / len(labels)),
        "seeds": list(range(args.seeds)),
        "rows": {"train": len(texts.train), "held_out": len(texts.held_out)},
        "mean_tokens": {
            "train": float(texts.num_tokens[texts.train].mean()),
            "held_out": float(texts.num_tokens[texts.held_out].mean()),
        },
        "max_length": args.max_length,
        "epochs": args.epochs,
        "learning_rate": args.learning_rate,
        "data": texts.workload.data,
        "real_texts": texts.workload.is_real,
    }


def _compare(runs: list[dict], baseline: list[dict]) -> dict:
    """Count held-out texts, over all seeds, that only one of two ways gets right."""
    correct, theirs = (
        np.array([run["correct"] for run in side]) for side in (runs, baseline)
    )
    return {
        "only_right": int((correct > theirs).sum()),
        "only_wrong": int((correct < theirs).sum()),
    }


def _build_record(args, texts: Texts, runs: dict[str, list[dict]], result) -> dict:
    seconds = {way: [run["seconds"] for run in own] for way, own in runs.items()}
    num_texts = len(texts.train) * args.epochs
    return records.build_record(
        "long_texts",
        f"{texts.workload.name}-{texts.preset.name}",
        result,
        args,
        config={
            "preset": texts.preset.name,
            "sequence_length": args.max_length,
            "batch_size": args.batch_size,
            "dtype": next(iter(runs.values()))[0]["precision"],
            "device": args.device,
            "data": texts.workload.data,
            "encoder": texts.preset.source,
            "epochs": args.epochs,
            "learning_rate": args.learning_rate,
        },
        warmup_steps=0,
        timed_steps=-(-len(texts.train) // args.batch_size) * args.epochs,
        samples_seconds=seconds,
        examples_per_second={
            way: measure.summarize_rate(num_texts, values)
            for way, values in seconds.items()
        },
        quality={
            "metric": "held-out accuracy",
            "seeds": result["seeds"],
            "values": {
                way: [run["accuracy"] for run in own] for way, own in runs.items()
            },
        },
        runs=[
            {"way": way, **{name: run[name] for name in run if name != "correct"}}
            for way, own in runs.items()
            for run in own
        ],
    )


if __name__ == "__main__":
    main()
