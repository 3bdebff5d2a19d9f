"""Load labelled text from anywhere, check it and split it."""

import hashlib
import numbers
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from kbert.data.files import Reading
from kbert.data.findings import KINDS, Findings, check_kinds
from kbert.data.folders import find_parts
from kbert.data.labels import find_classes
from kbert.data.parts import (
    Part,
    check_classes,
    check_no_null,
    check_pairs,
    check_seen,
    cut_train,
    describe_labels,
    find_leaks,
    inspect_parts,
    label_parts,
    limit_part,
    note_sources,
    read_values,
)
from kbert.data.shares import read_requests
from kbert.data.sources import Source, read_source
from kbert.data.split import Split
from kbert.data.values import KINDS_OF_LABELS, Kind, find_names


@dataclass(frozen=True)
class Splits:
    """The parts of a data set.

    Args:
        train: rows to train on.
        validation: rows to choose a model with, or `None`.
        test: rows to measure it on, once, or `None`.
        label_names: class names in id order.
        findings: what is wrong with the rows, whether or not it was dropped.
        source: what was read, in words.
        digest: SHA-256 (hexadecimal) of the source file's bytes, or of the texts and
            labels in memory; of all the sources' digests if there are several.
        notes: what was guessed in reading the sources, and what is odd about the
            classes, a sentence each.
    """

    train: Split
    validation: Split | None
    test: Split | None
    label_names: tuple[str, ...]
    findings: Findings
    source: str
    digest: str
    notes: tuple[str, ...] = ()

    @property
    def parts(self) -> dict[str, Split]:
        """The parts there are, by name, in the order train, validation, test."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: part for name, part in parts.items() if part is not None}


def load_splits(
    source: Any,
    *,
    text: str = "text",
    label: str | Sequence[str] = "label",
    text_pair: str | None = None,
    validation: Any = None,
    test: Any = None,
    seed: int = 42,
    stratify: bool = True,
    encoding: str | None = None,
    drop: Collection[str] = (),
    label_names: Sequence[str] | None = None,
    limit: int | None = None,
    columns: Sequence[str] | None = None,
    delimiter: str | None = None,
    quoting: bool | None = None,
    kind: Kind = "classes",
    separator: str | None = None,
) -> Splits:
    r"""Load labelled text and split it.

    Rows are cut as scikit-learn's `train_test_split` does, first train from the rest,
    then validation from test, both times with `seed`. Of n rows, train gets
    `int((1 - validation - test) * n)`, test its share of the rest rounded up, and
    validation what remains, with shares taken as the decimals they are written as:
    7,613 rows at `validation=0.2` give 6,090 and 1,523; 5,572 rows at .15 and .15 give
    3,900, 836 and 836.

    Class ids follow the labels' order: whole numbers by value, others alphabetically.
    In CSV and TSV, `NA` and `null` are words and only an empty cell is null; a null
    text is used as `""` unless nulls are dropped.

    Args:
        source: path of a CSV, TSV, JSON, Parquet or `.xlsx` file (the first three may
            be compressed as `.gz`, `.bz2`, `.xz` or `.zip`); folder with `train.csv`
            (or `.tsv`, `.jsonl`, `.parquet`, ...) and perhaps `validation.csv` and
            `test.csv`; `pandas.DataFrame`; `datasets.Dataset` or `DatasetDict`;
            `(texts, labels)` or `(texts, text_pairs, labels)`.
        text: column of the texts.
        label: column of the labels.
        text_pair: column of the second texts of sentence pairs.
        validation: share of the rows in (0, 1), or a source of its own. `None`: the
            source's own validation part, if it has one.
        test: the same for the test part, which may be unlabelled.
        seed: of the split and of `limit`.
        stratify: whether each part gets each class in the same proportion.
        encoding: of text files; `None`: UTF-8, or UTF-16 with a byte order mark.
        drop: kinds of rows to leave out, of `nulls`, `blanks`, `duplicates` (all but
            the first), `conflicts` and `leaks` (from train, or from validation where
            only test holds the text). An unlabelled part keeps every row.
        label_names: class names in id order; the labels are these names or their ids.
            `None` takes the labels that occur.
        limit: most rows to use of each source, a seeded sample with (if `stratify`)
            every class in its proportion; `None` uses all.
        columns: names of a CSV or TSV file's columns if it has no header.
        delimiter: character between fields; `None`: the one that the file's name stands
            for, or another if only that one gives the columns wanted (said in `notes`).
        quoting: whether `"` quotes fields; `None`: unless the delimiter is a tab.
        kind: of the labels: `classes`, one a row; `several` a row, whose `labels` are
            float32 (n, num_labels) of 0 and 1; or `scores`, float32 (n,). Rows are
            then split at random, whatever their labels.
        separator: what stands between several labels of a row; `None`: that of `;`,
            `|` and `,` which leaves the fewest different labels in train. They may be
            lists too, or several columns of 0 and 1.

    Returns:
        The splits, with what was found in the rows.

    Raises:
        FileNotFoundError: a file is missing, or a folder has no train file.
        ValueError: a source cannot be read, a column is missing, labels are null,
            fractional, all of one class or unknown in another part, or the rows are
            too few to split as asked.

    Example:
        >>> splits = kbert.load_splits("reviews.csv", text="review", label="stars",
        ...                            validation=0.15, test=0.15)
        >>> splits = kbert.load_splits("SMSSpamCollection", delimiter="\t",
        ...                            columns=("label", "text"), test=0.2)
    """
    kinds = check_kinds("drop", drop, KINDS)
    _check_whole("seed", seed, 0)
    if limit is not None:
        _check_whole("limit", limit, 1)
    shares, others = read_requests(validation, test)
    reading = Reading(
        text=text,
        label=label,
        text_pair=text_pair,
        encoding=encoding,
        columns=columns,
        delimiter=delimiter,
        quoting=quoting,
        kind=_check_kind(kind),
        separator=separator,
    )
    stratify = stratify and kind == "classes"
    sources = _read_sources(source, shares, others, reading)
    names, parts = label_parts(sources, label_names, kind)
    notes = note_sources(sources, parts["train"], names if kind == "classes" else ())
    findings, parts = inspect_parts(parts, kinds)
    if limit is not None:
        parts = {
            k: limit_part(part, limit, seed, stratify) for k, part in parts.items()
        }
    check_classes(parts["train"], names, limit)
    parts = cut_train(parts, shares, names, seed, stratify)
    leaks, parts = find_leaks(parts, kinds)
    if label_names is None and limit is None:
        check_seen(parts, names)
    splits = _assemble(parts, sources, names, replace(findings, leaks=leaks))
    return replace(splits, notes=notes)


def load_split(
    source: Any,
    *,
    text: str = "text",
    label: str | Sequence[str] | None = None,
    text_pair: str | None = None,
    label_names: Sequence[str] | None = None,
    encoding: str | None = None,
    columns: Sequence[str] | None = None,
    delimiter: str | None = None,
    quoting: bool | None = None,
    kind: Kind = "classes",
    separator: str | None = None,
) -> Split:
    """Load one part, labelled or not, with every row in the source's order.

    Args:
        source: as in `load_splits`, except for folders and mappings; also a list of
            texts.
        text: column of the texts.
        label: column of the labels; `None`: unlabelled, but for labels in a tuple.
        text_pair: column of the second texts of sentence pairs.
        label_names: class names in id order, such as those of the training data; the
            labels are these names or their ids. `None` takes the labels that occur.
        encoding: of text files; `None`: UTF-8, or UTF-16 with a byte order mark.
        columns: names of a CSV or TSV file's columns if it has no header.
        delimiter: character between fields; `None`: the one that the file's name stands
            for, or another if only that one gives the columns wanted (said in `notes`).
        quoting: whether `"` quotes fields; `None`: unless the delimiter is a tab.
        kind: of the labels, as in `load_splits`.
        separator: what stands between several labels of a row, as in `load_splits`.

    Returns:
        The rows.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: the source cannot be read, a column is missing, or labels are null,
            fractional or not among `label_names`.

    Example:
        >>> split = kbert.load_split("test.csv", text="text")
        >>> split.texts, split.column("id")
    """
    reading = Reading(
        text=text,
        label=label,
        text_pair=text_pair,
        encoding=encoding,
        columns=columns,
        delimiter=delimiter,
        quoting=quoting,
        kind=_check_kind(kind),
        separator=separator,
    )
    read = read_source(source, reading)
    rows = np.arange(len(read))
    if read.labels is None:
        return Split(read, rows)
    where = describe_labels(read)
    if kind != "classes":
        names = find_names(read, label_names, where) if kind == "several" else ()
        codes, values = read_values(read, names, kind)
        check_no_null(codes, rows, where, "fill it, or remove the row")
        return Split(read, rows, values, names)
    given = read.class_names if label_names is None else label_names
    classes = find_classes(read.labels, given, where)
    labels = classes.encode(read.labels, where)
    check_no_null(labels, rows, where, "fill it, or remove the row")
    return Split(read, rows, labels, classes.names)


# === Requests ===


def _check_kind(kind: Kind) -> Kind:
    if kind not in KINDS_OF_LABELS:
        raise ValueError(
            f"kind must be one of {', '.join(KINDS_OF_LABELS)}; received {kind!r}."
        )
    return kind


def _check_whole(name: str, value: Any, least: int) -> None:
    if not isinstance(value, numbers.Integral) or not least <= int(value) < 2**32:
        raise ValueError(
            f"{name} must be a whole number from {least} to 4,294,967,295; "
            f"received {value!r}."
        )


# === Reading and assembling ===


def _read_sources(
    source: Any, shares: dict[str, Fraction], others: dict[str, Any], reading: Reading
) -> dict[str, Source]:
    wanted = {**find_parts(source), **others}
    sources: dict[str, Source] = {}
    for part in ("train", "validation", "test"):
        if part in wanted and part not in shares:
            read = read_source(wanted[part], reading, label_optional=part == "test")
            sources[part] = read
            reading = replace(reading, separator=reading.separator or read.separator)
    check_pairs(sources)
    return sources


def _assemble(
    parts: dict[str, Part],
    sources: dict[str, Source],
    names: tuple[str, ...],
    findings: Findings,
) -> Splits:
    splits: dict[str, Split | None] = {"validation": None, "test": None}
    for name, part in parts.items():
        classes = () if part.labels is None else names
        splits[name] = Split(part.source, part.rows, part.row_values, classes)
    digests = [source.digest for source in sources.values()]
    joined = hashlib.sha256("".join(digests).encode()).hexdigest()
    words = [sources["train"].words]
    words += [f"{part}: {read.words}" for part, read in list(sources.items())[1:]]
    return Splits(
        train=splits["train"],  # type: ignore[arg-type]
        validation=splits["validation"],
        test=splits["test"],
        label_names=names,
        findings=findings,
        source="; ".join(words),
        digest=digests[0] if len(digests) == 1 else joined,
    )
