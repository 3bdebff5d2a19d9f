"""Read the parts of a data set, whatever is wrong with their labels."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kbert.data import Split
from kbert.data.columns import find_columns
from kbert.data.files import Reading
from kbert.data.folders import PARTS, find_parts
from kbert.data.labels import Classes, find_classes, sort_names
from kbert.data.parts import check_pairs
from kbert.data.sources import Source, read_source
from kbert.inspection.fixing import Origin
from kbert.inspection.rows import Rows


def find_reading(
    source: Any, named: tuple[str | None, str | None, str | None, bool], layout: Reading
) -> tuple[Reading, list[str]]:
    """Find the columns that are not named.

    Args:
        source: as for `kbert.load_splits`.
        named: columns of texts, labels and second texts, and whether there are none of
            labels.
        layout: how the files are to be read.

    Returns:
        How to read them, and what was guessed.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: a column that was named is missing, or none can be told.
    """
    text, label, pair, unlabelled = named
    if text and (label or unlabelled):
        return replace(layout, text=text, label=label, text_pair=pair), []
    found = find_columns(
        source,
        text,
        label,
        pair,
        label_optional=True,
        encoding=layout.encoding,
        columns=layout.columns,
        delimiter=layout.delimiter,
        quoting=layout.quoting,
    )
    notes = list(found.sentences)
    own = None if unlabelled else found.label
    if not isinstance(own, str | None):
        notes[-1] = "Labels are in several columns, so they are not checked; name one."
        own = None
    return replace(layout, text=found.text, label=own, text_pair=found.text_pair), notes


def read_rows(
    source: Any,
    validation: Any,
    test: Any,
    reading: Reading,
    label_names: Sequence[str] | None,
) -> tuple[Origin, str, list[str]]:
    """Read every part, and give each row a class id.

    Args:
        source: as for `kbert.load_splits`.
        validation: a source of its own, or `None`.
        test: the same; it may be unlabelled.
        reading: columns wanted, and how to read them.
        label_names: class names in id order; `None` takes the labels that occur.

    Returns:
        The rows with where they are from, what was read in words, and why the labels
        are no classes, if so.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a source cannot be read, or a column is missing.
    """
    given = {"validation": validation, "test": test}
    named = find_parts(source) | {k: v for k, v in given.items() if v is not None}
    places = {part: named[part] for part in PARTS if part in named}
    sources = {
        part: read_source(place, reading, label_optional=part != "train")
        for part, place in places.items()
    }
    check_pairs(sources)
    notes: list[str] = []
    parts, are_classes = _label(sources, label_names, notes)
    rows = Rows(parts, are_classes)
    return Origin(rows, places, reading), _describe_sources(sources), notes


def _describe_sources(sources: Mapping[str, Source]) -> str:
    words = [f"{part}: {read.words}" for part, read in sources.items()]
    return "; ".join([sources["train"].words, *words[1:]])


def _label(
    sources: Mapping[str, Source], label_names: Sequence[str] | None, notes: list[str]
) -> tuple[dict[str, Split], bool]:
    """Give every row a class id; what trains nothing is no reason to stop here."""
    parts = {part: Split(read, np.arange(len(read))) for part, read in sources.items()}
    labelled = {p: read for p, read in sources.items() if read.labels is not None}
    if "train" not in labelled:
        return parts, False
    try:
        classes = _find_classes(labelled, label_names)
    except ValueError as error:
        if label_names is not None:
            raise
        notes.append(f"class balance, since the labels are no classes: {error}")
        return parts | _number_values(labelled), False
    for part, read in labelled.items():
        ids = classes.encode(read.labels, _describe_labels(read))
        parts[part] = Split(read, np.arange(len(read)), ids, classes.names)
    return parts, True


def _find_classes(
    labelled: Mapping[str, Source], label_names: Sequence[str] | None
) -> Classes:
    """Find the classes of all parts, so that those that train lacks have ids too."""
    train = labelled["train"]
    given = train.class_names if label_names is None else label_names
    if given is not None:
        return find_classes(train.labels, given, _describe_labels(train))
    names: set[str] = set()
    for read in labelled.values():
        names |= set(find_classes(read.labels, None, _describe_labels(read)).names)
    return find_classes(train.labels, sort_names(names), _describe_labels(train))


def _describe_labels(read: Source) -> str:
    return f"column {read.label!r} of {read.name}"


def _number_values(labelled: Mapping[str, Source]) -> dict[str, Split]:
    """Make a class of every value, only to compare labels by them."""
    columns = [
        read.table.column(str(read.label)).chunk(0) for read in labelled.values()
    ]
    with contextlib.suppress(pa.ArrowInvalid):  # 4.2 and 4.20 are one score
        columns = [column.cast(pa.float64()) for column in columns]
    columns = [column.cast(pa.large_string()) for column in columns]
    values = pc.unique(pa.chunked_array(columns)).drop_null().sort()
    names = tuple(values.to_pylist())
    parts = {}
    for (part, read), column in zip(labelled.items(), columns, strict=True):
        ids = pc.index_in(column, values).fill_null(-1).to_numpy(zero_copy_only=False)
        parts[part] = Split(read, np.arange(len(read)), ids, names)
    return parts


def to_split(part: Any) -> Split:
    """Take the rows of any task as texts; labels are kept where they are classes.

    Args:
        part: a `Split`, or what has its `texts` and `rows`.

    Returns:
        The rows, under their numbers in the source.
    """
    labels = getattr(part, "labels", None)
    if isinstance(labels, list):  # of words, or answers
        labels = None
    ids = np.empty(0, np.int32) if labels is None else np.asarray(labels)
    if isinstance(part, Split) and ids.ndim == 1 and ids.dtype.kind == "i":
        return part
    texts: list[str | None] = [None] * (int(np.max(part.rows, initial=-1)) + 1)
    for row, text in zip(np.asarray(part.rows).tolist(), part.texts, strict=True):
        texts[row] = text
    table = pa.table({"text": pa.array(texts, pa.large_string())})
    name = str(getattr(part, "name", "the rows"))
    read = Source(table, "text", None, None, None, name, name, "")
    return Split(read, np.asarray(part.rows))
