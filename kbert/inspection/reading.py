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
from kbert.data.peek import peek
from kbert.data.sources import Source, read_source
from kbert.data.values import Kind, list_names, read_several
from kbert.inspection.fixing import Origin
from kbert.inspection.parts import to_rows
from kbert.inspection.rows import Rows
from kbert.tasks import Request, find_task
from kbert.tasks.answer_data import SUFFIXES as ANSWER_SUFFIXES
from kbert.tasks.answer_data import read_questions
from kbert.tasks.columns import split_names
from kbert.tasks.guess import Column, find_separator, guess_by_format
from kbert.tasks.parts import find_sources
from kbert.tasks.tag_data import SUFFIXES as TAG_SUFFIXES
from kbert.tasks.tag_data import read_sentences
from kbert.tasks.task import LAYOUT


def find_task_name(
    source: Any, task: str | None, reading: Mapping[str, Any]
) -> tuple[str | None, list[str]]:
    """Find the task of a source whose form tells it.

    Args:
        source: as for `kbert.inspect`.
        task: as the user has named it, or `None`.
        reading: layout of the files, as far as it is named.

    Returns:
        Its name, `None` for a table whose labels are still to be looked at; and what
        was guessed.

    Raises:
        ValueError: there is no task of this name.
    """
    if task is not None:
        return find_task(task).name, []
    found = guess_by_format(Request(source=source, reading=reading))
    if found is None:
        return None, []
    name, why = found
    return name, [f"The task is {name}, since {why}; pass task= (--task) for another."]


def find_reading(
    source: Any,
    named: tuple[str | None, Any, str | None, bool],
    layout: Reading,
    task: str | None,
) -> tuple[Reading, list[str]]:
    """Find the columns that are not named, and whether a row has several labels.

    Args:
        source: as for `kbert.load_splits`.
        named: columns of texts, labels and second texts, and whether there are none of
            labels.
        layout: how the files are to be read.
        task: of a table, or `None`.

    Returns:
        How to read them, and what was guessed.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: a column that was named is missing, or none can be told.
    """
    text, label, pair, unlabelled = named
    options = {name: getattr(layout, name) for name in LAYOUT}
    notes: list[str] = []
    if isinstance(label, str) and "," in label:
        label = split_names(label, Request(source=source, reading=options))
    if not (text and (label or unlabelled)):
        found = find_columns(source, text, label, pair, label_optional=True, **options)
        notes = list(found.sentences)
        text, label, pair = found.text, found.label, found.text_pair
    label = None if unlabelled else label
    kind, why = _find_kind(source, label, layout, task)
    reading = replace(layout, text=text, label=label, text_pair=pair, kind=kind)
    return reading, [*notes, *why]


def _find_kind(
    source: Any, label: Any, layout: Reading, task: str | None
) -> tuple[Kind, list[str]]:
    """Tell whether rows have several labels: by the task, the columns, or a look."""
    if label is None or task is not None:
        return ("several" if task == "multilabel" and label else "classes"), []
    if not isinstance(label, str):
        return "several", []
    if isinstance(source, list | tuple):
        return "classes", []
    values = peek(source, replace(layout, text="", label=None)).columns.get(label, [])
    column = Column([str(value) for value in values if value is not None])
    if any(isinstance(value, list) for value in values):
        return "several", [f"Column {label!r} holds lists of labels."]
    if layout.separator is not None:
        return "several", []
    if column.is_number or not find_separator(column):
        return "classes", []
    return "several", [
        f"Column {label!r} holds several labels a row; pass task= (--task) classify to "
        "take each value for one class."
    ]


def read_words(
    task: str,
    source: Any,
    parts: tuple[Any, Any],
    named: tuple[str | None, Any, str | None, bool],
    reading: Mapping[str, Any],
) -> tuple[dict[str, Any], str]:
    """Read tagged sentences or questions as they stand, whatever is wrong with them.

    Args:
        task: `tag` or `answer`.
        source: as for the task's training.
        parts: sources of validation and test of their own, or `None`.
        named: fields of texts, labels and second texts, and whether there are none of
            labels.
        reading: layout of the files, as far as it is named.

    Returns:
        Part name to `Sentences` or `Questions`, and what was read in words.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged.
    """
    text, label, pair, unlabelled = named
    suffixes = TAG_SUFFIXES if task == "tag" else ANSWER_SUFFIXES
    sources, _ = find_sources(source, *parts, suffixes)
    found: dict[str, Any] = {}
    words = []
    for part in (part for part in PARTS if part in sources):
        options = {"text": text, "label": label, "reading": reading, "strict": False}
        if task == "tag":
            sentences, said, _ = read_sentences(sources[part], **options)
            tags = None if unlabelled else sentences.tags
            names = tuple(sorted({tag for own in tags or () for tag in own}))
            found[part] = replace(sentences, tags=tags, label_names=names)
        else:
            read, said, _ = read_questions(sources[part], text_pair=pair, **options)
            found[part] = replace(read, answers=None if unlabelled else read.answers)
        words.append(said if part == "train" else f"{part}: {said}")
    return found, "; ".join(words)


def read_rows(
    source: Any,
    validation: Any,
    test: Any,
    reading: Reading,
    label_names: Sequence[str] | None,
) -> tuple[Origin, str, list[str]]:
    """Read every part, and give each row the id of its label.

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
    sources: dict[str, Source] = {}
    for part, place in places.items():
        read = read_source(place, reading, label_optional=part != "train")
        sources[part] = read
        reading = replace(reading, separator=reading.separator or read.separator)
    check_pairs(sources)
    words = _describe_sources(sources)
    notes: list[str] = []
    if reading.kind == "several":
        parts = _read_several(sources, label_names)
        return Origin(parts, to_rows(parts), places, reading), words, notes
    parts, are_classes = _label(sources, label_names, notes)
    rows = Rows(parts, are_classes)
    return Origin(parts, rows, places, reading), words, notes


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


def _read_several(
    sources: Mapping[str, Source], label_names: Sequence[str] | None
) -> dict[str, Split]:
    """Read labels of which a row may have several, also those that train lacks."""
    names = label_names or sources["train"].class_names
    if names is None:
        names = sort_names({one for s in sources.values() for one in list_names(s)})
    parts = {}
    for part, read in sources.items():
        labels = None
        if read.labels is not None:
            labels = read_several(read.labels, names, _describe_labels(read))[1]
        own = () if labels is None else tuple(names)
        parts[part] = Split(read, np.arange(len(read)), labels, own)
    return parts


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
