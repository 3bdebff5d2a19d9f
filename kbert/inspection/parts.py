"""The parts of any task's data as rows of texts, and the faults of their labels."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from kbert.data import Split
from kbert.data.sources import Source
from kbert.inspection.classes import count_classes, find_class_faults
from kbert.inspection.finding import Finding
from kbert.inspection.questions import find_answer_faults
from kbert.inspection.rows import Rows
from kbert.inspection.several import count_labels, find_several_faults
from kbert.inspection.words import count_tags, find_tag_faults
from kbert.tasks.answer_data import Questions
from kbert.tasks.tag_data import Sentences


def to_rows(parts: Mapping[str, Any]) -> Rows:
    """Take the parts of any task as texts; labels are compared by how they are written.

    Args:
        parts: `Split`s, or what has their `texts` and `rows`.

    Returns:
        The rows, under their numbers in their sources.
    """
    if all(map(_has_classes, parts.values())):
        return Rows(parts)
    written = {name: _write_labels(part) for name, part in parts.items()}
    distinct = {label for labels in written.values() for label in labels or ()}
    ids = {label: number for number, label in enumerate(sorted(distinct))}
    splits = {}
    for name, part in parts.items():
        labels = written[name]
        numbers = None if labels is None else np.array([ids[one] for one in labels])
        source = part.source if isinstance(part, Split) else _read_part(part)
        names = () if numbers is None else tuple(ids)
        splits[name] = Split(source, np.asarray(part.rows), numbers, names)
    return Rows(splits, are_classes=False)


def find_label_faults(
    parts: Mapping[str, Any], rows: Rows
) -> tuple[list[Finding], dict[str, dict[str, int]]]:
    """Find what is wrong with the labels of any task.

    Args:
        parts: as for `to_rows`.
        rows: what it returned, or with the values of labels as classes.

    Returns:
        The findings; and by part the rows of each label, of tags the words.
    """
    train = parts["train"]
    if isinstance(train, Sentences):
        return find_tag_faults(parts, rows), count_tags(parts)
    if isinstance(train, Questions):
        return find_answer_faults(parts, rows), {}
    labels = train.labels if isinstance(train, Split) else None
    if labels is not None and labels.ndim == 2:
        return find_several_faults(parts, rows), count_labels(parts)
    if labels is not None and labels.dtype.kind == "f":
        return [], {}
    return find_class_faults(rows), count_classes(rows) if rows.has_classes else {}


def _has_classes(part: Any) -> bool:
    if not isinstance(part, Split):
        return False
    return part.labels is None or part.labels.dtype.kind == "i"


def _write_labels(part: Any) -> list[str] | None:
    """Write the labels of each row, equal ones alike; `None` where there are none."""
    labels = getattr(part, "labels", None)
    if labels is None:
        return None
    if not isinstance(part, Split):
        return [", ".join(map(str, label)) for _, label in part.keys]
    if labels.ndim == 1:
        return [repr(value) for value in labels.tolist()]
    names = np.array(part.label_names, object)
    return [";".join(names[row > 0]) for row in labels]


def _read_part(part: Any) -> Source:
    """Make a source of rows that are no table's, each under its number."""
    columns = {"text": part.texts, "text_pair": getattr(part, "text_pairs", None)}
    size = int(np.max(part.rows, initial=-1)) + 1
    arrays = {}
    for name, texts in columns.items():
        if texts is not None:
            placed: list[str | None] = [None] * size
            for row, text in zip(np.asarray(part.rows).tolist(), texts, strict=True):
                placed[row] = text
            arrays[name] = pa.array(placed, pa.large_string())
    name = str(getattr(part, "name", "the rows"))
    pair = "text_pair" if "text_pair" in arrays else None
    return Source(pa.table(arrays), "text", pair, None, None, name, name, "")
