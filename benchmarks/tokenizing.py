"""Tokenizing: kbert against KerasHub's preprocessor and transformers' fast tokenizer.

Run:    python -m benchmarks.tokenizing --workload tweets --against keras

From texts to int32 or int64 arrays padded to the workload's length, as each library's
own interface gives them. The token ids are compared as well.
"""

import argparse
import statistics
import time

import numpy as np

from benchmarks import command, machine, measure, records
from benchmarks.tasks import Task, build_task
from benchmarks.transformers_model import build_tokenizer
from kbert.text import Preprocessor, clean_text


def main(argv: list[str] | None = None) -> dict:
    """Compare as the command line asks; return the result."""
    args = _parse(argv)
    machine.prepare_process("cpu", tensorflow=args.against == "keras")
    task = build_task(
        workload=args.workload,
        preset=args.preset,
        batch_size=32,
        device="cpu",
        precision="auto",
        limit=args.texts,
    )
    columns = _clean(task)
    ours = Preprocessor(task.preset.tokenizer, max_length=task.max_length)
    theirs = _OPPONENTS[args.against](task)
    expected, found = ours(*columns)["token_ids"], theirs(*columns)  # not timed
    same = float((np.asarray(found) == expected).all(axis=1).mean())
    seconds = measure.interleave(
        lambda: _time("kbert", ours, columns),
        lambda: _time(args.against, theirs, columns),
        args.repeats,
    )
    result = _build_result(args, task, seconds, same)
    print(f"rows with the same token ids: {same:.2%}")
    return records.finish(_build_record(args, task, result, seconds), args.results)


def _parse(argv) -> argparse.Namespace:
    parser = command.build_parser(__doc__, repeats=5)
    add = parser.add_argument
    add("--workload", choices=command.CLASSIFY, default="tweets")
    add("--against", choices=tuple(_OPPONENTS), default="transformers")
    add("--texts", type=int, help="texts to tokenize; default all, at most 5000")
    args = command.parse(parser, argv)
    args.preset = command.QUICK_PRESET  # any with BERT's vocabulary
    args.texts = args.texts or (50 if args.quick else 5000)
    return args


def _clean(task: Task) -> tuple:
    """Clean before the clock starts: only tokenizing is compared."""
    texts = task.workload.texts
    if task.workload.clean:
        texts = [clean_text(text, task.workload.clean) for text in texts]
    return texts, task.workload.text_pairs


def _build_transformers(task: Task):
    tokenizer = build_tokenizer(task)

    def tokenize(texts, pairs):
        return tokenizer(
            texts,
            pairs,
            padding="max_length",
            truncation=True,
            max_length=task.max_length,
            return_tensors="np",
        )["input_ids"]

    return tokenize


def _build_keras(task: Task):
    import keras_hub

    models = keras_hub.models
    ids = task.preset.tokenizer._backend.get_vocab()
    vocabulary = sorted(ids, key=ids.__getitem__)
    preprocessor = models.BertTextClassifierPreprocessor(
        models.BertTokenizer(vocabulary, lowercase=True),
        sequence_length=task.max_length,
    )
    preprocessor.build(None)

    def tokenize(texts, pairs):
        inputs = texts if pairs is None else (texts, pairs)
        # Called as a layer it would take a pair of lists for texts and labels.
        return np.asarray(preprocessor.call(inputs)["token_ids"])

    return tokenize


_OPPONENTS = {"transformers": _build_transformers, "keras": _build_keras}


def _time(name: str, tokenize, columns) -> float:
    started = time.perf_counter()
    tokenize(*columns)
    elapsed = time.perf_counter() - started
    print(f"{name}: {elapsed:.3f} s")
    return elapsed


def _build_result(args, task: Task, seconds, same: float) -> dict:
    medians = [statistics.median(one) for one in seconds]
    rates = [len(task.workload) / one for one in medians]
    names = ("kbert", args.against)
    tokens = int(task.lengths.sum())
    return {
        "workload": args.workload,
        "against": args.against,
        **measure.compare(*seconds),
        "texts_per_second": dict(zip(names, rates, strict=True)),
        "tokens_per_second": {
            name: tokens / one for name, one in zip(names, medians, strict=True)
        },
        "same_ids_share": same,
        "real_texts": task.workload.is_real,
    }


def _build_record(args, task: Task, result: dict, seconds) -> dict:
    samples = dict(zip(("kbert", args.against), seconds, strict=True))
    count = len(task.workload)
    return records.build_record(
        "tokenizing",
        f"{args.workload}-{args.against}",
        result,
        args,
        config={
            "device": "cpu",
            "sequence_length": task.max_length,
            "data": task.workload.data,
            "encoder": task.preset.source,
        },
        samples_seconds=samples,
        examples_per_second={
            name: measure.summarize_rate(count, one) for name, one in samples.items()
        },
    )


if __name__ == "__main__":
    main()
