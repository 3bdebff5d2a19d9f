"""Read JSON into Arrow tables: one object a line, or an array of objects."""

import codecs
import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pyarrow as pa

from kbert.data.encodings import (
    block_bytes,
    check_decodes,
    choose_encoding,
    first_line,
)
from kbert.data.opening import open_bytes

if TYPE_CHECKING:
    from kbert.data.files import Reading

_ADVICE = "write one object a line, or an array of objects"


def read_json(path: Path, reading: "Reading") -> tuple[pa.Table, str, tuple[str, ...]]:
    """Read one file of JSON objects; what they nest is named `outer.inner`.

    Args:
        path: a file that is not empty.
        reading: columns wanted and encoding.

    Returns:
        The table, the format in words, and what was guessed, a sentence each.

    Raises:
        ValueError: the file is damaged, or of another format or encoding.
    """
    encoding, note = choose_encoding(path, reading.encoding)
    notes = () if note is None else (note,)
    if _is_array(path, encoding):
        return _read_array(path, encoding, reading), "JSON", notes
    return _read_lines(path, encoding, reading), "JSON lines", notes


def _is_array(path: Path, encoding: str) -> bool:
    with open_bytes(path) as file:
        head = file.read(4096)
    codec = "utf-8-sig" if encoding == "utf-8" else encoding
    return head.decode(codec, errors="replace").lstrip().startswith("[")


# === One object a line ===


def _read_lines(path: Path, encoding: str, reading: "Reading") -> pa.Table:
    try:
        table = _parse_lines(path, encoding, None)
        # Arrow turns a column of nothing but dates into timestamps; texts stay texts.
        dates = [
            (field.name, pa.string())
            for field in table.schema
            if field.name in reading.wanted and pa.types.is_temporal(field.type)
        ]
        if dates:
            table = _parse_lines(path, encoding, pa.schema(dates))
        table = _flatten(table)
        table = table.select(reading.flat_columns(table.schema))
        table.validate(full=True)  # Arrow's JSON reader takes any bytes as text
    except (pa.ArrowInvalid, UnicodeError) as error:
        check_decodes(path, encoding)
        _explain_lines(path, encoding, reading.wanted)
        raise ValueError(
            f"cannot read {path}: {first_line(error)}; correct that row."
        ) from None
    return table


def _parse_lines(path: Path, encoding: str, schema: pa.Schema | None) -> pa.Table:
    from pyarrow import json

    with open_bytes(path) as file:
        stream: Any = _skip_mark(file)
        if encoding != "utf-8":
            stream = pa.transcoding_input_stream(pa.PythonFile(file), encoding, "utf-8")
        return json.read_json(
            stream,
            read_options=json.ReadOptions(block_size=block_bytes(path)),
            parse_options=json.ParseOptions(explicit_schema=schema),
        )


def _skip_mark(file: IO[bytes]) -> IO[bytes]:
    if file.read(3) != codecs.BOM_UTF8:
        file.seek(0)
    return file


def _flatten(table: pa.Table) -> pa.Table:
    """Make columns of what objects hold, as deep as they go."""
    while any(pa.types.is_struct(field.type) for field in table.schema):
        table = table.flatten()
    return table


def _explain_lines(path: Path, encoding: str, wanted: tuple[str, ...]) -> None:
    """Raise a sentence about the first line that is no object or changes a type."""
    import json

    seen: dict[str, tuple[str, Any]] = {}
    codec = "utf-8-sig" if encoding == "utf-8" else encoding
    with open_bytes(path) as file:
        lines = io.TextIOWrapper(file, encoding=codec, newline="\n")
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                if number == 1 and _is_one_object(path, codec):
                    raise ValueError(
                        f"{path} holds one object, not rows; {_ADVICE}."
                    ) from None
                reason = first_line(error).partition(": line")[0]
                raise ValueError(
                    f"{path} is not JSON in line {number:,}: {reason}; {_ADVICE}."
                ) from None
            where = f"line {number:,}"
            _check_object(path, where, value)
            _check_kinds(path, where, value, wanted, seen)


def _is_one_object(path: Path, codec: str) -> bool:
    import json

    with open_bytes(path) as file:
        try:
            json.loads(file.read().decode(codec))
        except (ValueError, RecursionError):
            return False
    return True


# === An array of objects ===


def _read_array(path: Path, encoding: str, reading: "Reading") -> pa.Table:
    seen: dict[str, tuple[str, Any]] = {}
    rows = read_objects(path, encoding)
    for number, row in enumerate(rows):
        _check_kinds(path, f"row {number:,}", row, reading.wanted, seen)
    return _build_table(path, [dict(flat_items(row)) for row in rows], reading)


def read_objects(path: Path, encoding: str) -> list[dict[str, Any]]:
    """Read an array of objects as it is.

    Args:
        path: file that holds it.
        encoding: its codec.

    Returns:
        The objects.

    Raises:
        ValueError: it holds anything else, or nothing.
    """
    import json

    check_decodes(path, encoding)
    with open_bytes(path) as file:
        codec = "utf-8-sig" if encoding == "utf-8" else encoding
        content = file.read().decode(codec)
    try:
        rows = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} is not JSON: {first_line(error)}; {_ADVICE}."
        ) from None
    for number, row in enumerate(rows):
        _check_object(path, f"row {number:,}", row)
    if not rows:
        raise ValueError(f"{path} holds no rows; pass a file that has some.")
    return rows


def flat_items(value: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what an object holds, and what its objects hold as `outer.inner`."""
    for name, one in value.items():
        if isinstance(one, dict):
            yield from flat_items(one, f"{prefix}{name}.")
        else:
            yield prefix + name, one


def _build_table(
    path: Path, rows: list[dict[str, Any]], reading: "Reading"
) -> pa.Table:
    columns = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        try:
            columns[name] = pa.array([row.get(name) for row in rows])
        except (pa.ArrowException, UnicodeEncodeError, OverflowError) as error:
            if name in reading.wanted:
                raise ValueError(
                    f"cannot read {name!r} of {path}: {first_line(error)}."
                ) from None
            # a column of several kinds that nobody asked for
    table = pa.table(columns)
    return table.select(reading.flat_columns(table.schema))


# === Both ===


def _check_object(path: Path, where: str, value: Any) -> None:
    if not isinstance(value, dict):
        raise ValueError(
            f"{path} holds a {type(value).__name__}, not an object, in {where}; "
            f"{_ADVICE}."
        )


def _check_kinds(
    path: Path,
    where: str,
    value: dict[str, Any],
    wanted: tuple[str, ...],
    seen: dict[str, tuple[str, Any]],
) -> None:
    """Refuse a column wanted that holds values of two kinds."""
    for name in wanted:
        if value.get(name) is None:
            continue
        first_where, first = seen.setdefault(name, (where, value[name]))
        kinds = {type(first), type(value[name])}
        if len(kinds) > 1 and kinds != {int, float}:
            raise ValueError(
                f"{name!r} of {path} holds {first!r:.60} ({type(first).__name__}) in "
                f"{first_where} and {value[name]!r:.60} "
                f"({type(value[name]).__name__}) in {where}; write one type."
            )
