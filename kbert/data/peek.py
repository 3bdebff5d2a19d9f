"""Look at a few rows of any source, to tell what its columns are.

Nothing is checked here: whatever is damaged is explained when the source is read.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from kbert.data.delimiters import (
    HEAD_BYTES,
    guess_delimiter,
    is_json,
    read_head,
    split_head,
)
from kbert.data.encodings import choose_encoding, is_binary
from kbert.data.files import (
    DELIMITED_SUFFIXES,
    DELIMITERS,
    JSON_SUFFIXES,
    PARQUET_SUFFIXES,
    Reading,
    check_is_file,
    read_file,
)
from kbert.data.folders import find_parts
from kbert.data.json_rows import flat_items
from kbert.data.opening import format_suffix, open_bytes

PEEKED_ROWS = 1000


@dataclass(frozen=True)
class Peek:
    """A few rows of a source.

    Args:
        name: of the source, for messages.
        columns: column name to its values in these rows, `None` where null.
    """

    name: str
    columns: dict[str, list[Any]]


def peek(source: Any, reading: Reading) -> Peek:
    """Read the first rows of a file, or rows from all over a source in memory.

    Args:
        source: anything that `load_splits` takes; of several parts, train.
        reading: how to read a file; the columns it names need not be there.

    Returns:
        At most `PEEKED_ROWS` rows.

    Raises:
        FileNotFoundError: a file is missing, or a folder has no train file.
        ValueError: the source is none that can be read.
    """
    source = find_parts(source)["train"]
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        return Peek(path.name, _peek_file(path, reading))
    kind = type(source).__name__
    return Peek(f"the {kind}", _peek_object(source))


def _peek_file(path: Path, reading: Reading) -> dict[str, list[Any]]:
    check_is_file(path)
    suffix = format_suffix(path)
    columns: dict[str, list[Any]] = {}
    if suffix in PARQUET_SUFFIXES:
        columns = _peek_parquet(path)
    elif suffix in JSON_SUFFIXES and reading.delimiter is None:
        columns = _peek_json(path, reading)
    elif reading.delimiter is not None or suffix in DELIMITED_SUFFIXES:
        columns = _peek_delimited(path, suffix, reading)
    if any(columns.values()):
        return columns
    table, *_ = read_file(path, reading)  # which says what is wrong with the file
    return _sample_table(table)


def _peek_delimited(path: Path, suffix: str, reading: Reading) -> dict[str, list[Any]]:
    encoding, _ = choose_encoding(path, reading.encoding)
    head = read_head(path, encoding)
    mark = reading.delimiter or guess_delimiter(
        head,
        DELIMITERS.get(suffix),
        columns=reading.columns,
        quoting=reading.quoting,
    )
    if mark is None or is_json(head):
        return {}
    rows = split_head(head, mark, reading.quoting)
    header = rows.pop(0) if reading.columns is None and rows else reading.columns or ()
    rows = [row for row in rows if len(row) == len(header)][:PEEKED_ROWS]
    values = [[value or None for value in column] for column in zip(*rows, strict=True)]
    return dict(zip(header, values, strict=False))


def _peek_json(path: Path, reading: Reading) -> dict[str, list[Any]]:
    encoding, _ = choose_encoding(path, reading.encoding)
    with open_bytes(path) as file:
        head = file.read(8 * HEAD_BYTES)
    codec = "utf-8-sig" if encoding == "utf-8" else encoding
    objects = list(_read_objects(head.decode(codec, errors="replace")))
    names = dict.fromkeys(name for one in objects for name in one)
    return {name: [one.get(name) for one in objects] for name in names}


def _read_objects(text: str) -> Iterator[dict[str, Any]]:
    """Read the whole objects that text begins with, in an array or one a line."""
    import json

    decoder = json.JSONDecoder()
    position = 0
    for _ in range(PEEKED_ROWS):
        while position < len(text) and text[position] in " \t\r\n[,":
            position += 1
        try:
            value, position = decoder.raw_decode(text, position)
        except (ValueError, RecursionError):
            return
        if isinstance(value, dict):
            yield dict(flat_items(value))


def _peek_parquet(path: Path) -> dict[str, list[Any]]:
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            names = _plain_columns(file.schema_arrow)
            batches = file.iter_batches(batch_size=PEEKED_ROWS, columns=names)
            return next(batches).to_pydict()
    except (pa.ArrowException, OSError, StopIteration, UnicodeError):
        return {}


def _plain_columns(schema: pa.Schema) -> list[str]:
    return [f.name for f in schema if not (is_binary(f.type) or _is_wide(f.type))]


def _is_wide(kind: pa.DataType) -> bool:
    """Whether a column holds lists of numbers (embeddings) or lists of anything odd."""
    if not pa.types.is_nested(kind):
        return False
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        return True
    value = kind.value_type
    return not (pa.types.is_string(value) or pa.types.is_large_string(value))


# === In memory ===


def _peek_object(source: Any) -> dict[str, list[Any]]:
    library, kind = type(source).__module__.partition(".")[0], type(source).__name__
    if isinstance(source, pa.Table):
        return _sample_table(source)
    if library == "pandas" and kind == "DataFrame":
        places = _places(len(source))
        return {
            str(name): [_plain(value) for value in source.iloc[places, position]]
            for position, name in enumerate(source.columns)
        }
    if library == "datasets" and kind == "Dataset":
        chosen = source.select_columns(_plain_columns(source.features.arrow_schema))
        return chosen.select(_places(len(source))).to_dict()
    raise ValueError(
        f"cannot look for columns in a {type(source).__module__}.{kind}; pass a path, "
        "DataFrame or datasets.Dataset, or name the columns."
    )


def _sample_table(table: pa.Table) -> dict[str, list[Any]]:
    table = table.select(_plain_columns(table.schema))
    return table.take(pa.array(_places(len(table)))).to_pydict()


def _places(num_rows: int) -> np.ndarray:
    """Choose rows evenly, since files are often sorted by label."""
    size = min(num_rows, PEEKED_ROWS)
    return np.linspace(0, max(num_rows - 1, 0), size).astype(np.int64)


def _plain(value: Any) -> Any:
    """Return a value of Python's own, `None` where pandas has a missing one."""
    value = value.item() if hasattr(value, "item") else value
    try:
        return None if value != value else value
    except (TypeError, ValueError):  # pandas.NA, arrays
        return None
