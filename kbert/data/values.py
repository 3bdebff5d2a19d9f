"""Labels that are no classes: several a row, and scores.

Several labels a row come as a column of names with a mark between them, as a column of
lists, or as several columns of 0 and 1. All become one column of names with a mark
between them that no name has, so that rows are compared, hashed and shown as ever.
"""

import ast
import io
import json
import re
import tokenize
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa

from kbert.data.labels import sort_names

if TYPE_CHECKING:
    from kbert.data.sources import Source

Kind = Literal["classes", "several", "scores"]
KINDS_OF_LABELS = ("classes", "several", "scores")
SEPARATORS = (";", "|", ",")  # of the labels of a row, the likeliest first
_NEIGHBOURS = re.compile(r"""['"]\s+['"]""")  # of two strings without a comma
_MARK = "\x1f"  # ASCII's unit separator
_YES, _NO = ("1", "1.0", "true", "yes"), ("0", "0.0", "false", "no")
_LISTED_NAMES = 20


def join_labels(source: "Source", separator: str | None) -> "Source":
    """Make one column of names of whatever holds the labels of a source.

    Args:
        source: read, its `label` a column or several columns of 0 and 1.
        separator: what stands between the labels of a row in a column of text;
            `None`: what `find_mark` finds, which a note says.

    Returns:
        The source with one label column, and its separator. A row without labels is
        empty, not null.

    Raises:
        ValueError: a column is missing, or holds something else.
    """
    if source.label is None:
        return source
    if not isinstance(source.label, str):
        return _join_columns(source, tuple(source.label))
    if source.label not in source.table.column_names:
        return source  # what is missing is said where all columns are checked
    place = source.table.column_names.index(source.label)
    column = source.table.column(place)
    kind = column.type
    values = column.to_pylist()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        parts = [[] if row is None else [str(v) for v in row] for row in values]
    else:
        texts = ["" if value is None else str(value) for value in values]
        if (lists := read_lists(texts)) is not None:
            parts = lists
        else:
            mark = separator or find_mark(texts)
            parts = [text.split(mark) if mark else [text] for text in texts]
            source = _note_mark(source, mark, separator)
    joined = pa.array([_join(row) for row in parts], pa.large_string())
    table = source.table.set_column(place, source.label, joined)
    return replace(source, table=table)


def _read_literal(text: str) -> Any:
    """Read a list as Python writes it, or NumPy, which puts no commas."""
    if _NEIGHBOURS.search(text):  # Python would make one string of the two
        kinds = (tokenize.NL, tokenize.NEWLINE, tokenize.ENDMARKER)
        parts = [""]
        before = None
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type in kinds:
                continue
            is_new = before == token.type == tokenize.STRING
            parts.append(f", {token.string}" if is_new else token.string)
            before = token.type
        text = "".join(parts)
    return ast.literal_eval(text)


def _note_mark(source: "Source", mark: str | None, separator: str | None) -> "Source":
    """Remember what parts labels, and say so unless the user did."""
    source = replace(source, separator=mark)
    if mark == separator:
        return source
    note = (
        f"The labels of a row in column {source.label!r} are parted at {mark!r}; pass "
        "separator= (--separator) for another mark."
    )
    return replace(source, notes=(*source.notes, note))


def read_lists(texts: Sequence[str]) -> list[list[str]] | None:
    """Read lists that stand in a column as text, such as `['a', 'b']`.

    That is how tables with a column of lists are written to CSV, by Python's rules or
    by JSON's.

    Args:
        texts: of the column; an empty one is an empty list.

    Returns:
        The lists; `None` where any text is none, or all are empty.
    """
    read: dict[str, list[str] | None] = {text: _read_list(text) for text in set(texts)}
    if not any(texts) or None in read.values():
        return None
    return [read[text] or [] for text in texts]


def _read_list(text: str) -> list[str] | None:
    text = text.strip()
    if not text:
        return []
    if not (text.startswith("[") and text.endswith("]")):
        return None
    for parse in (json.loads, _read_literal):
        try:
            found = parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(found, list):
            return [str(one) for one in found if one is not None]
    return None


def _join(names: Sequence[str]) -> str:
    return _MARK.join(dict.fromkeys(n.strip() for n in names if n.strip()))


def find_mark(values: Sequence[str]) -> str | None:
    """Find what stands between the labels of a row, if rows have several.

    Args:
        values: a column's, some of which hold several labels.

    Returns:
        Of the `SEPARATORS` that occur the one that leaves the fewest different labels:
        a mark inside a name, or a stray one, makes labels that do not recur. Of equals
        the one in more rows; `None` where none occurs.
    """
    counts = Counter(values)
    found = []
    for mark in SEPARATORS:
        num_rows = sum(count for text, count in counts.items() if mark in text)
        if num_rows:
            names = {name.strip() for text in counts for name in text.split(mark)}
            found.append((len(names), -num_rows, mark))
    return min(found, key=lambda one: one[:2])[2] if found else None


def choose_separator(label_names: Sequence[str]) -> str:
    """Choose what to write between labels that share a field, so that they part again.

    Args:
        label_names: all that may be written.

    Returns:
        The first of `SEPARATORS` that no name holds; ASCII's unit separator, which
        labels cannot hold, where each of them is in a name.
    """
    free = (m for m in SEPARATORS if not any(m in name for name in label_names))
    return next(free, _MARK)


def _join_columns(source: "Source", labels: tuple[str, ...]) -> "Source":
    flags = []
    for name in labels:
        if name not in source.table.column_names:
            raise ValueError(
                f"{source.name} has no column {name!r}; it has "
                f"{', '.join(source.table.column_names[:_LISTED_NAMES])}."
            )
        where = f"column {name!r} of {source.name}"
        flags.append(_read_flags(source.table.column(name).to_pylist(), where))
    names = np.array(labels, object)
    joined = [_join(names[row].tolist()) for row in np.array(flags, bool).T]
    label = ", ".join(labels)
    table = source.table.append_column(label, pa.array(joined, pa.large_string()))
    return replace(source, table=table, label=label, class_names=labels)


def _read_flags(values: Sequence[Any], where: str) -> list[bool]:
    flags = []
    for row, value in enumerate(values):
        text = str(value).strip().lower()
        if text not in (*_YES, *_NO):
            raise ValueError(
                f"{where} must be 0 or 1 in every row to be a label; row {row:,} has "
                f"{value!r}. Correct it, or leave the column out."
            )
        flags.append(text in _YES)
    return flags


def find_names(
    source: "Source", label_names: Sequence[str] | None, where: str
) -> tuple[str, ...]:
    """Find the labels that rows can have.

    Args:
        source: of the training rows, joined.
        label_names: what the user has named; `None`: those that occur.
        where: the column in words.

    Returns:
        Names in id order: the user's, the columns', or sorted.

    Raises:
        ValueError: there are fewer than two.
    """
    given = source.class_names if label_names is None else label_names
    if given is not None:
        names = tuple(map(str, given))
    else:
        names = sort_names(list_names(source))
    if len(names) < 2:
        raise ValueError(
            f"{where} has {len(names)} different labels, and several are needed; check "
            "the column, or what separates the labels of a row (separator=)."
        )
    return names


def list_names(source: "Source") -> set[str]:
    """Return the labels that occur in a source, joined; none if it is unlabelled."""
    rows = () if source.labels is None else source.labels.unique().to_pylist()
    return {name for row in rows for name in _split(row)}


def _split(row: str | None) -> list[str]:
    return row.split(_MARK) if row else []


def read_several(
    column: pa.Array, names: Sequence[str], where: str
) -> tuple[np.ndarray, np.ndarray]:
    """Read joined labels.

    Args:
        column: names with a mark between them, n rows.
        names: in id order.
        where: the column in words.

    Returns:
        int32 (n,), the same number for equal sets as written; float32 (n, num_labels),
        1 where a row has the label, else 0.

    Raises:
        ValueError: a row has a label that is not among the names.
    """
    encoded = column.dictionary_encode()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    ids = {name: number for number, name in enumerate(names)}
    rows = encoded.dictionary.to_pylist()
    table = np.zeros((len(rows) + 1, len(names)), np.float32)
    for code, row in enumerate(rows):
        for name in _split(row):
            if name not in ids:
                listed = ", ".join(map(repr, list(ids)[:_LISTED_NAMES]))
                raise ValueError(
                    f"{where} has the label {name!r} in row "
                    f"{int(np.argmax(codes == code)):,}, which is not among the labels "
                    f"{listed}; correct the row, or name every label in label_names=."
                )
            table[code, ids[name]] = 1
    return codes.astype(np.int32), table[codes]


_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")


def read_scores(column: pa.Array, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Read numbers.

    Args:
        column: numbers, or texts that are, n rows.
        where: the column in words.

    Returns:
        int32 (n,), the same number for equal scores, -1 for null; float32 (n,).

    Raises:
        ValueError: a value is no number, or infinite.
    """
    encoded = column.dictionary_encode()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    values = encoded.dictionary.to_pylist()
    scores = np.full(len(values) + 1, np.nan, np.float32)
    for code, value in enumerate(values):
        scores[code] = _read_score(value)
        if not np.isfinite(scores[code]) and not _is_null(value):
            raise ValueError(
                f"{where} must hold numbers; row {int(np.argmax(codes == code)):,} has "
                f"{value!r}. Correct it, name another label column, or pass "
                "task='classify' (--task) if these are classes."
            )
    nulls = np.array([_is_null(value) for value in values] + [True])
    return np.where(nulls[codes], -1, codes).astype(np.int32), scores[codes]


def _is_null(value: Any) -> bool:
    return value is None or value != value or not str(value).strip()


def _read_score(value: Any) -> float:
    if isinstance(value, str) and not _NUMBER.fullmatch(value.strip()):
        return float("nan")
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def check_values(values: np.ndarray, names: Sequence[str], where: str) -> None:
    """Refuse training rows that a model cannot learn from.

    Args:
        values: float32 (n,) scores, or (n, num_labels) of 0 and 1.
        names: of the labels; `()` for scores.
        where: the column in words.

    Raises:
        ValueError: all scores are equal, or a label has no row or all of them.
    """
    if values.ndim == 1:
        if values.min() == values.max():
            raise ValueError(
                f"{where} has one score only, {values[0]:g}, among the rows; there is "
                "nothing to learn. Add rows, or name another label column."
            )
        return
    counts = values.sum(axis=0)
    for number in np.flatnonzero(counts == 0)[:1]:
        raise ValueError(
            f"the label {names[number]!r} of {where} has no row to train on; add rows "
            "that have it, or leave it out."
        )


def mark_labels(written: Sequence[str], label_names: Sequence[str]) -> np.ndarray:
    """Read labels that `choose_separator` has joined.

    Args:
        written: the labels of a row each.
        label_names: in id order.

    Returns:
        int64 (n, num_labels), 1 where a row has the label.

    Raises:
        KeyError: a label has no such name.
    """
    mark = choose_separator(label_names)
    ids = {name: label for label, name in enumerate(label_names)}
    labels = np.zeros((len(written), len(ids)), np.int64)
    for row, names in enumerate(written):
        labels[row, [ids[name] for name in names.split(mark) if name]] = 1
    return labels
