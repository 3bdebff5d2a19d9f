"""Turn what a run holds into plain JSON and CSV."""

import dataclasses
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from kbert.data.csv_rows import CsvWriter


def to_plain(
    value: Any, where: str = "the value", other: Callable[[Any], Any] | None = None
) -> Any:
    """Turn a value into what JSON has: dict, list, str, int, float, bool and null.

    NumPy's numbers and arrays become Python's, tuples and sets lists, dataclasses
    dicts, paths and dict keys strings. JSON has no NaN and no infinity: they become
    null on purpose, since many readers refuse a file that holds the bare word.

    Args:
        value: anything made of the types above.
        where: what it is, for the error message.
        other: makes something plain of what is none of the above; `None`: refused.

    Returns:
        The plain value.

    Raises:
        ValueError: it holds something else.
    """
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, PurePath):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        value = {field.name: getattr(value, field.name) for field in fields}
    if isinstance(value, Mapping):
        items = value.items()
        return {str(k): to_plain(v, f"{where}[{k!r}]", other) for k, v in items}
    if isinstance(value, (set, frozenset)):
        value = sorted(value, key=str)
    if isinstance(value, (list, tuple)):
        return [to_plain(v, f"{where}[{i}]", other) for i, v in enumerate(value)]
    if callable(convert := getattr(value, "tolist", None)):  # NumPy and torch
        return to_plain(convert(), where, other)
    if other is not None:
        return other(value)
    raise ValueError(
        f"{where} is a {type(value).__name__}, which JSON has no form for. "
        "Pass numbers, strings, lists and dicts."
    )


def dump_json(value: Any, where: str = "the value") -> str:
    """Write a value as readable JSON.

    Args:
        value: as `to_plain` takes it.
        where: what it is, for the error message.

    Returns:
        JSON with a line end; characters beyond ASCII stay as they are.

    Raises:
        ValueError: it holds something that JSON has no form for.
    """
    plain = to_plain(value, where)
    return json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def dump_line(value: Any, allow_nan: bool = False) -> str:
    """Write a value as JSON on one line.

    Args:
        value: plain, as `to_plain` returns it.
        allow_nan: whether to write NaN and infinity, which many readers refuse.

    Returns:
        JSON without a line end; characters beyond ASCII stay as they are, unless some
        are lone surrogates, which UTF-8 has no form for.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=allow_nan)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(value, allow_nan=allow_nan)
    return text


def dump_csv(rows: Any, columns: Sequence[str] | None = None) -> str:
    """Write rows as CSV with a header.

    Args:
        rows: `pandas.DataFrame` (its index is left out) or a sequence of dicts;
            `None` and NaN are empty cells.
        columns: their order; `None`: as they first occur.

    Returns:
        CSV with line feeds as line ends, numbers with all their digits.
    """
    other = None
    if callable(getattr(rows, "to_dict", None)):
        columns, other = columns or list(rows.columns), str  # days, say
        rows = rows.astype(object).where(rows.notna(), None).to_dict("records")
    names = list(columns or dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = CsvWriter(text)
    if names:
        writer.writerow(names)
    for row in rows:
        writer.writerow([_cell(row.get(name), other) for name in names])
    return text.getvalue()


def _cell(value: Any, other: Callable[[Any], Any] | None) -> Any:
    plain = to_plain(value, other=other)
    return "" if plain is None else plain
