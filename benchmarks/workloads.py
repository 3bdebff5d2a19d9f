"""Real texts to measure with, and what stands in for them where they are absent."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.annotated import join_parts, read_annotated
from kbert.data import load_split
from kbert.recipes.sources import SAMPLES

ROOT = Path(__file__).resolve().parent.parent
SEED = 42
NUM_SUBSTITUTES = 4096  # rows made of the bundled sample


@dataclass(frozen=True)
class Source:
    """Where a workload's rows lie and how they are used.

    Args:
        file: under the data folder.
        text: column.
        label: column.
        max_length: what rows are cut or padded to, in tokens.
        text_pair: column of the second text, if any.
        clean: cleaning done first, if any.
        joined: rows joined into one text.
        substitutes: bundled tweets joined into one text where the file is absent, so
            that texts are about as long as the real ones.
        held_out: file of the rows that are only measured on, if there is one.
        kind: task of `kbert.tasks`; `tag` and `answer` read columns of their own.
    """

    file: str
    text: str
    label: str
    max_length: int
    text_pair: str | None = None
    clean: str | None = None
    joined: int = 1
    substitutes: int = 1
    held_out: str | None = None
    kind: str = "classify"

    @property
    def is_annotated(self) -> bool:
        """Whether labels lie in the texts, which are then read in windows."""
        return self.kind in ("tag", "answer")


SOURCES = {
    "tweets": Source("tweets/train.csv", "text", "target", 45, clean="fixed"),
    "mrpc": Source(
        "mrpc/train.csv",
        "sentence1",
        "label",
        512,
        text_pair="sentence2",
        held_out="mrpc/validation.csv",
    ),
    "imdb": Source(
        "imdb/train.parquet",
        "text",
        "label",
        256,
        substitutes=12,
        held_out="imdb/test.parquet",
    ),
    "amazon": Source(
        "amazon/polarity_train.csv", "content", "label", 256, substitutes=4
    ),
    # No padding at all: reviews joined until they fill every row.
    "full": Source(
        "imdb/train.parquet", "text", "label", 512, joined=8, substitutes=60
    ),
    "spam": Source("spam/spamdata_v2.csv", "text", "label", 25),
    "ner": Source("ner/train.txt", "", "", 128, held_out="ner/test.txt", kind="tag"),
    "stsb": Source(
        "stsb/train.csv",
        "sentence1",
        "score",
        128,
        text_pair="sentence2",
        held_out="stsb/test.csv",
        kind="regress",
    ),
    # There is no train file: articles are parted, as `kbert.tasks.answer` does.
    "squad": Source("squad/dev-v1.1.json", "", "", 384, kind="answer"),
    "sst2": Source(
        "sst2/train.csv", "sentence", "label", 64, held_out="sst2/validation.csv"
    ),
}
# Those that all scripts know; of the others some do.
CLASSIFY = tuple(name for name, one in SOURCES.items() if one.kind == "classify")


@dataclass(frozen=True)
class Workload:
    """Labelled texts in a seeded random order.

    Args:
        name: key of `SOURCES`.
        texts: first texts.
        text_pairs: second texts, or `None`.
        labels: int (n,); scores are float32, of mean 0 and deviation 1, as
            `kbert.tasks.regress` trains on them; `None` where `part` has them.
        num_classes: number of classes; 1 of scores.
        max_length: what rows are cut or padded to, in tokens.
        clean: cleaning done by the preprocessor, or `None`.
        data: what the texts are, in words, for the record.
        is_real: whether they are the workload's own texts.
        kind: task of `kbert.tasks`.
        part: tagged sentences or questions, which read their rows in windows.
        label_names: tags in id order.
    """

    name: str
    texts: list[str]
    text_pairs: list[str] | None
    labels: Any
    num_classes: int
    max_length: int
    clean: str | None
    data: str
    is_real: bool
    kind: str = "classify"
    part: Any = None
    label_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: Sequence[int] | np.ndarray) -> list:
        """Return the texts of some rows, pairs as tuples: what `fit` takes."""
        if self.text_pairs is None:
            return [self.texts[row] for row in rows]
        return [(self.texts[row], self.text_pairs[row]) for row in rows]

    def select(self, rows: np.ndarray) -> "Workload":
        """Return a workload of some rows, which may repeat."""
        pairs = self.text_pairs and [self.text_pairs[row] for row in rows]
        return replace(
            self,
            texts=[self.texts[row] for row in rows],
            text_pairs=pairs,
            labels=None if self.labels is None else self.labels[rows],
            part=self.part and self.part.take(rows),
        )


def load_workload(
    name: str, *, max_length: int | None = None, limit: int | None = None
) -> Workload:
    """Read a workload from KBERT_TEST_DATA, or make it of the bundled sample.

    Args:
        name: key of `SOURCES`.
        max_length: instead of the workload's own, in tokens.
        limit: most rows to keep, chosen at random.

    Returns:
        The workload, its rows in an order that is always the same.
    """
    source = SOURCES[name]
    path = data_folder() / source.file
    if source.is_annotated:
        whole, _ = _load_annotated(name, max_length, with_held_out=False)
        return whole.select(np.arange(len(whole))[:limit])
    if path.is_file():
        columns = _read(source, source.file)
        data, joined = source.file, source.joined
    else:
        columns = _make_substitutes(source)
        data = f"bundled sample of tweets, {source.substitutes} joined to a text"
        joined = 1
    whole = _arrange(name, columns, data, path.is_file(), joined, max_length, limit)
    return _scale(whole, len(whole))


def load_parts(
    name: str,
    *,
    max_length: int | None = None,
    limit: int | None = None,
    held_out: str | None = None,
) -> tuple[Workload, np.ndarray, np.ndarray]:
    """Read a workload whole, with labels that can be learned, and part its rows.

    Held out are the rows of the source's own file of them, else a fifth, always the
    same. Where a file is absent, each row of the bundled sample is taken once and keeps
    its label.

    Args:
        name: key of `SOURCES`.
        max_length: instead of the workload's own, in tokens.
        limit: most rows of each part, chosen at random.
        held_out: file of the held-out rows, instead of the source's own.

    Returns:
        The workload, its rows to train on, and its held-out rows.
    """
    source = SOURCES[name]
    if source.is_annotated:
        whole, cut = _load_annotated(name, max_length, with_held_out=True)
        rows = np.arange(len(whole))
        return whole, rows[:cut][:limit], rows[cut:][:limit]
    source = replace(source, held_out=held_out or source.held_out)
    files = [source.file, source.held_out] if source.held_out else [source.file]
    is_real = all((data_folder() / file).is_file() for file in files)
    if is_real:
        parts, data = [_read(source, file) for file in files], " and ".join(files)
    else:
        parts, data = [_read_sample(source)], "bundled sample of tweets"
        data += ", a random one beside each" if source.text_pair else ""
    arranged = [
        _arrange(name, part, data, is_real, 1, max_length, None) for part in parts
    ]
    whole = arranged[0]
    rows = np.arange(sum(map(len, arranged)))
    cut = len(whole) if source.held_out and is_real else len(rows) - len(rows) // 5
    for part in arranged[1:]:
        pairs = (whole.text_pairs or []) + (part.text_pairs or [])
        whole = replace(
            whole,
            texts=whole.texts + part.texts,
            text_pairs=pairs or None,
            labels=np.concatenate([whole.labels, part.labels]),
        )
    return _scale(whole, cut), rows[:cut][:limit], rows[cut:][:limit]


def _load_annotated(
    name: str, max_length: int | None, *, with_held_out: bool
) -> tuple[Workload, int]:
    """Return rows in a random order, and how many of them are not held out."""
    source = SOURCES[name]
    path = data_folder() / source.file
    is_real, test = path.is_file(), None
    if with_held_out:
        has_file = is_real and source.held_out is not None
        test = data_folder() / source.held_out if has_file else 0.2
    parts, label_names = read_annotated(source.kind, path if is_real else None, test)
    generator = np.random.default_rng(SEED)
    parts = [part.take(generator.permutation(len(part))) for part in parts]
    whole = join_parts(parts)
    workload = Workload(
        name=name,
        texts=whole.texts,
        text_pairs=None,
        labels=None,
        num_classes=len(label_names) or 2,  # where an answer begins, and where it ends
        max_length=max_length or source.max_length,
        clean=None,
        data=source.file if is_real else "bundled sample of tweets, labels made up",
        is_real=is_real,
        kind=source.kind,
        part=whole,
        label_names=label_names,
    )
    return workload, len(parts[0])


def _scale(workload: Workload, num_train: int) -> Workload:
    """Give scores to train on the mean 0 and the deviation 1; leave labels alone."""
    if workload.kind != "regress":
        return workload
    train = workload.labels[:num_train]
    labels = (workload.labels - train.mean()) / train.std()
    return replace(workload, labels=labels.astype("float32"))


def _read(source: Source, file: str):
    split = load_split(
        data_folder() / file,
        text=source.text,
        label=source.label,
        text_pair=source.text_pair,
        kind="scores" if source.kind == "regress" else "classes",
    )
    return split.texts, split.text_pairs, split.labels


def _read_sample(source: Source):
    split = load_split(SAMPLES / "tweets/train.csv", text="text", label="target")
    others = np.random.default_rng(SEED).permutation(len(split.texts))
    pairs = [split.texts[row] for row in others] if source.text_pair else None
    return split.texts, pairs, split.labels


def _arrange(name, columns, data, is_real, joined, max_length, limit) -> Workload:
    source = SOURCES[name]
    texts, pairs, labels = columns
    order = np.random.default_rng(SEED).permutation(len(texts))
    texts = [texts[row] for row in order]
    pairs = [pairs[row] for row in order] if pairs else None
    is_scores = source.kind == "regress"
    labels = np.asarray(labels)[order].astype("float64" if is_scores else "int64")
    if joined > 1:
        texts = _join(texts, joined)
        labels = labels[: len(texts)]
    stop = limit or len(texts)
    return Workload(
        name=name,
        texts=texts[:stop],
        text_pairs=pairs[:stop] if pairs else None,
        labels=labels[:stop],
        num_classes=1 if is_scores else int(labels.max()) + 1,
        max_length=max_length or source.max_length,
        clean=source.clean,
        data=data if joined == 1 else f"{data}, {joined} joined to a text",
        is_real=is_real,
        kind=source.kind,
    )


def data_folder() -> Path:
    return Path(os.environ.get("KBERT_TEST_DATA", ROOT / ".." / "shared" / "data"))


def _join(texts: list[str], count: int) -> list[str]:
    starts = range(0, len(texts) - count + 1, count)
    return [" ".join(texts[start : start + count]) for start in starts]


def _make_substitutes(source: Source):
    split = load_split(SAMPLES / "tweets/train.csv", text="text", label="target")
    generator = np.random.default_rng(SEED)
    sample, count = split.texts, source.substitutes

    def draw() -> list[str]:
        rows = generator.integers(len(sample), size=(NUM_SUBSTITUTES, count))
        # A quarter up to all of the tweets, so that lengths vary as real ones do.
        used = generator.integers(-(-count // 4), count + 1, NUM_SUBSTITUTES)
        if source.joined > 1:
            used[:] = count
        return [
            " ".join(sample[place] for place in row[:num])
            for row, num in zip(rows, used, strict=True)
        ]

    texts = draw()
    pairs = draw() if source.text_pair else None
    return texts, pairs, generator.integers(2, size=NUM_SUBSTITUTES)
