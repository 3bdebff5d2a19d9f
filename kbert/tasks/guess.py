"""Guess from the data which task they are for, and say why."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kbert.data.files import JSON_SUFFIXES
from kbert.tasks.columns import Column, Glance, complete, look
from kbert.tasks.table import find_task
from kbert.tasks.tag_data import CONLL_SUFFIXES
from kbert.tasks.task import Request, Task

SEPARATORS = (";", "|", ",")
# Whole numbers of more different values are scores, not classes.
_MOST_WHOLE_CLASSES = 20
# A smaller share of rows with separators: they are part of the names.
_LEAST_SEVERAL = 0.02
_TAG = re.compile(r"O|[BIESLU]-\S+")
_HEAD_CHARACTERS = 100_000


def guess_task(request: Request, glance: Glance | None = None) -> tuple[Task, str]:
    """Guess which task a source is for.

    Args:
        request: what to read; columns may be missing.
        glance: as `kbert.tasks.columns.look` returns it; `None`: looked at.

    Returns:
        The task, and a clause that says why.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the source cannot be read, or its columns are not found.
    """
    found = guess_by_format(request)
    if found is None:
        glance = glance or look(request)
        request, _ = complete(request, glance)
        found = _guess_by_labels(request.label, glance.columns)
    name, why = found
    return find_task(name), why


def guess_by_format(request: Request) -> tuple[str, str] | None:
    """Recognise files that are no tables: tagged words, and questions on texts.

    Args:
        request: what to read, and how.

    Returns:
        The task's name and a clause that says why; `None` for tables.
    """
    source = request.source
    if not isinstance(source, str | Path) or not Path(source).is_file():
        return None
    suffix = Path(source).suffix.lower()
    if suffix not in (*CONLL_SUFFIXES, *JSON_SUFFIXES):
        return None
    encoding = request.reading.get("encoding") or "utf-8"
    with open(source, encoding=encoding, errors="replace") as file:
        head = file.read(_HEAD_CHARACTERS)
    if suffix in JSON_SUFFIXES:
        return _guess_by_json(head)
    if "delimiter" not in request.reading and _is_conll(head):
        return "tag", "its lines are words and tags such as B-PER, as in CoNLL files"
    return None


def _is_conll(head: str) -> bool:
    lines = [line.split() for line in head.splitlines()[:-1] or head.splitlines()]
    rows = [fields for fields in lines if fields and fields[0] != "-DOCSTART-"]
    return bool(rows) and all(len(f) > 1 and _TAG.fullmatch(f[-1]) for f in rows)


def _guess_by_json(head: str) -> tuple[str, str] | None:
    if re.match(r'\s*\{[^{}]*"data"\s*:\s*\[', head) and '"paragraphs"' in head:
        return "answer", "it has paragraphs with questions and answers, as SQuAD does"
    try:
        row = json.loads(head.partition("\n")[0])
    except ValueError:
        return None
    lists = [k for k, v in row.items() if _is_list(v)] if isinstance(row, dict) else []
    if len(lists) >= 2 and len({len(row[name]) for name in lists[:2]}) == 1:
        return "tag", f"its rows have the lists {lists[0]!r} and {lists[1]!r}"
    return None


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(v, str | int) for v in value)


def _guess_by_labels(
    label: str | Sequence[str] | None, columns: Mapping[str, Column]
) -> tuple[str, str]:
    if not isinstance(label, str):
        names = ", ".join(map(repr, label or ()))
        return "multilabel", f"columns {names} can each be 0 or 1"
    column = columns.get(label)
    if column is None:  # reading says so better
        return "classify", f"column {label!r} holds labels"
    if column.is_list:
        return "multilabel", f"column {label!r} holds lists of labels"
    distinct = column.distinct
    if column.is_number:
        values = [float(value) for value in distinct]
        fraction = next((v for v in distinct if not float(v).is_integer()), None)
        if fraction is not None:
            return "regress", f"column {label!r} holds fractions, such as {fraction}"
        if len(values) > _MOST_WHOLE_CLASSES:
            return "regress", f"column {label!r} holds {len(values)} different numbers"
    elif mark := find_separator(column):
        example = next(value for value in distinct if mark in value)
        return (
            "multilabel",
            f"column {label!r} holds several labels a row, such as {example!r}",
        )
    return "classify", f"column {label!r} holds {len(distinct)} different labels"


def find_separator(column: Column) -> str | None:
    """Find what stands between the labels of a row, if rows have several.

    Args:
        column: of the labels.

    Returns:
        One of `SEPARATORS`, or `None` where each row has one label.
    """
    for mark in SEPARATORS:
        several = [value for value in column.values if mark in value]
        if not several or len(several) < _LEAST_SEVERAL * len(column.values):
            continue
        counts: dict[str, int] = {}
        for value in column.values:
            for part in value.split(mark):
                counts[part.strip()] = counts.get(part.strip(), 0) + 1
        # Parts recur in other company; "Smith, Ann" falls into parts of its own.
        if len(counts) <= len(column.distinct) and min(counts.values()) > 1:
            return mark
    return None
