"""Guess from the data which task they are for, and say why."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from kbert.data.delimiters import read_head
from kbert.data.encodings import choose_encoding
from kbert.data.files import JSON_SUFFIXES
from kbert.data.values import find_mark, read_lists
from kbert.tasks.columns import complete, look
from kbert.tasks.find import find_task
from kbert.tasks.tag_data import CONLL_SUFFIXES, WORD_FIELDS
from kbert.tasks.task import Request, Task

# Whole numbers of more different values are scores, not classes.
_MOST_WHOLE_CLASSES = 20
# A smaller share of rows with separators: they are part of the names.
_LEAST_SEVERAL = 0.02
_MOST_SINGLE = 0.05  # share of labels that only one of the rows looked at has
_MOST_ODD = 0.05  # share of values that are no numbers in a column of scores
_SEEN_ROWS = 5000  # enough to tell what a column holds
_NUMBER = re.compile(r"\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*")
_TAG = re.compile(r"O|[BIESLU]-\S+")
_LEAST_TAGGED = 0.9  # share of lines: a few with faults hide no CoNLL file


@dataclass(frozen=True)
class Column:
    """What a column of labels holds.

    Args:
        values: those that are there, as strings.
        is_list: whether each is a list.
    """

    values: Sequence[str]
    is_list: bool = False

    @property
    def distinct(self) -> dict[str, int]:
        """The different values and how often each occurs."""
        return dict(Counter(self.values))

    @property
    def is_number(self) -> bool:
        """Whether every value is a number."""
        return bool(self.values) and all(map(_NUMBER.fullmatch, self.values))

    def find_fraction(self) -> str | None:
        """Return a number that is not whole, if there is one."""
        numbers = filter(_NUMBER.fullmatch, self.distinct)
        return next((v for v in numbers if not float(v).is_integer()), None)

    def find_odd(self) -> str | None:
        """Return a value that is no number where nearly all are, and scores at that."""
        odd = [value for value in self.values if not _NUMBER.fullmatch(value)]
        if not odd or len(odd) > _MOST_ODD * len(self.values):
            return None
        num_numbers = len(self.distinct) - len(set(odd))
        if self.find_fraction() is None and num_numbers <= _MOST_WHOLE_CLASSES:
            return None
        return odd[0]


def guess_task(request: Request, table: pa.Table | None = None) -> tuple[Task, str]:
    """Guess which task a source is for.

    Args:
        request: what to read; columns may be missing.
        table: as `kbert.tasks.columns.look` returns it; `None`: looked at.

    Returns:
        The task, and a clause that says why.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the source cannot be read, or its columns are not found.
    """
    found = guess_by_format(request)
    if found is None:
        request, _ = complete(request)
        if table is None:
            table = look(request)
        found = _guess_by_labels(request.label, table)
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
    if not isinstance(source, str | Path):
        return None
    if Path(source).is_dir():  # a folder of parts
        files = sorted(Path(source).glob("train.*"))
        source = files[0] if len(files) == 1 else source
    if not Path(source).is_file():
        return None
    suffix = Path(source).suffix.lower()
    if suffix not in (*CONLL_SUFFIXES, *JSON_SUFFIXES):
        return None
    encoding, _ = choose_encoding(Path(source), request.reading.get("encoding"))
    head = read_head(Path(source), encoding)
    if suffix in JSON_SUFFIXES:
        return _guess_by_json(head)
    if "delimiter" not in request.reading and _is_conll(head):
        return "tag", "its lines are words and tags such as B-PER, as in CoNLL files"
    return None


def _is_conll(head: str) -> bool:
    lines = [line.split() for line in head.splitlines()[:-1] or head.splitlines()]
    rows = [fields for fields in lines if fields and fields[0] != "-DOCSTART-"]
    tagged = sum(len(f) > 1 and bool(_TAG.fullmatch(f[-1])) for f in rows)
    return bool(rows) and tagged >= _LEAST_TAGGED * len(rows)


def _guess_by_json(head: str) -> tuple[str, str] | None:
    if re.match(r'\s*\{[^{}]*"data"\s*:\s*\[', head) and '"paragraphs"' in head:
        return "answer", "it has paragraphs with questions and answers, as SQuAD does"
    try:
        row = json.loads(head.partition("\n")[0])
    except ValueError:
        return None
    lists = [k for k, v in row.items() if _is_list(v)] if isinstance(row, dict) else []
    if len(lists) < 2 or len(row[lists[0]]) != len(row[lists[1]]):
        return None
    tags = [k for k in lists if row[k] and all(map(_TAG.fullmatch, map(str, row[k])))]
    if not tags and not set(lists) & set(WORD_FIELDS):
        return None  # lists of other things, such as labels
    return "tag", f"its rows have the lists {lists[0]!r} and {lists[1]!r}"


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(v, str | int) for v in value)


def _guess_by_labels(
    label: str | Sequence[str] | None, table: pa.Table
) -> tuple[str, str]:
    if not isinstance(label, str):
        names = ", ".join(map(repr, label or ()))
        return "multilabel", f"columns {names} can each be 0 or 1"
    if label not in table.column_names:  # reading says so better
        return "classify", f"column {label!r} holds labels"
    column = _sample(table.column(table.column_names.index(label)))
    if column.is_list:
        return "multilabel", f"column {label!r} holds lists of labels"
    distinct = column.distinct
    if column.is_number:
        fraction = column.find_fraction()
        if fraction is not None:
            return "regress", f"column {label!r} holds fractions, such as {fraction}"
        if len(distinct) > _MOST_WHOLE_CLASSES:
            words = f"column {label!r} holds {len(distinct)} different numbers"
            return "regress", words
    elif mark := find_separator(column):
        example = next(value for value in distinct if mark in value)
        return (
            "multilabel",
            f"column {label!r} holds several labels a row, such as {example!r}",
        )
    elif odd := column.find_odd():
        return "regress", f"column {label!r} holds numbers, but for {odd!r}"
    return "classify", f"column {label!r} holds {len(distinct)} different labels"


def _sample(values: pa.ChunkedArray) -> Column:
    """Take rows from all over a column, since files are often sorted."""
    places = np.linspace(0, len(values) - 1, min(len(values), _SEEN_ROWS))
    kind = values.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    found = [v for v in values.take(places.astype(int)).to_pylist() if v is not None]
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    values = [str(v) for v in found if v == v and str(v).strip()]
    return Column(values, is_list or read_lists(values) is not None)


def find_separator(column: Column) -> str | None:
    """Find what stands between the labels of a row, if rows have several.

    Args:
        column: of the labels.

    Returns:
        What `kbert.data.values.find_mark` finds, or `None` where each row has one label
        and the mark is part of names.
    """
    mark = find_mark(column.values)
    if mark is None:
        return None
    num_several = sum(mark in value for value in column.values)
    counts = Counter(
        part.strip() for value in column.values for part in value.split(mark)
    )
    # Parts recur in other company; "Smith, Ann" falls into parts of its own.
    single = sum(count == 1 for count in counts.values())
    is_several = (
        num_several >= _LEAST_SEVERAL * len(column.values)
        and single <= _MOST_SINGLE * counts.total()
        and len(counts) <= len(column.distinct)
    )
    return mark if is_several else None
