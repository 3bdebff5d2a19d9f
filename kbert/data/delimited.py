"""Read CSV and other delimited text into Arrow tables, or say why it cannot be."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pyarrow as pa

from kbert.data.encodings import (
    block_bytes,
    check_decodes,
    first_line,
    is_binary,
    text_encoding,
)

if TYPE_CHECKING:
    from kbert.data.files import Reading

_OTHER_DELIMITERS = (";", "\t", "|", ",")
_HEADER_CHARACTERS = 10_000


def read_delimited(path: Path, reading: "Reading", delimiter: str) -> pa.Table:
    """Read one file of delimited text.

    Args:
        path: a file that is not empty.
        reading: columns wanted, encoding and quoting.
        delimiter: character between fields.

    Returns:
        The table; texts and labels as written.

    Raises:
        ValueError: the file is damaged or of another format, encoding or delimiter.
    """
    encoding = text_encoding(path, reading.encoding)
    try:
        table = _parse(path, reading, delimiter, encoding)
    except (pa.ArrowInvalid, UnicodeError) as error:
        check_decodes(path, encoding)
        _check_delimiter(path, reading, delimiter, encoding)
        _check_widths(path, reading, delimiter, encoding)
        if "Empty CSV file" in str(error):
            raise ValueError(f"{path} has no line; pass a file with rows.") from None
        raise ValueError(f"cannot read {path}: {first_line(error)}.") from None
    if any(is_binary(field.type) for field in table.schema):
        check_decodes(path, encoding)  # Arrow reads undecodable columns as bytes
    if reading.text not in table.column_names:
        _check_delimiter(path, reading, delimiter, encoding)
    if _has_quotes(reading, delimiter):
        _check_last_quote(path, table, encoding)
    return table


def _has_quotes(reading: "Reading", delimiter: str) -> bool:
    return delimiter != "\t" if reading.quoting is None else reading.quoting


def _parse(
    path: Path,
    reading: "Reading",
    delimiter: str,
    encoding: str,
    refuse: Callable[[Any], str] | None = None,
) -> pa.Table:
    from pyarrow import csv

    quoting = _has_quotes(reading, delimiter)
    return csv.read_csv(
        str(path),
        read_options=csv.ReadOptions(
            use_threads=False,  # with threads Arrow does not know row numbers
            block_size=block_bytes(path),
            column_names=reading.columns,
            encoding=encoding,
        ),
        parse_options=csv.ParseOptions(
            delimiter=delimiter,
            quote_char='"' if quoting else False,
            newlines_in_values=quoting,
            invalid_row_handler=refuse,
        ),
        convert_options=_convert_options(reading),
    )


def _check_delimiter(
    path: Path, reading: "Reading", delimiter: str, encoding: str
) -> None:
    """Refuse a file whose header has other delimiters only."""
    codec = "utf-8-sig" if encoding == "utf-8" else encoding
    with path.open(encoding=codec) as file:
        header = file.readline(_HEADER_CHARACTERS).strip()
    if reading.columns is not None or delimiter in header:
        return
    other = next((mark for mark in _OTHER_DELIMITERS if mark in header), None)
    # A column may well be called "a|b"; one of these names is expected.
    if other is not None and reading.text in header.replace('"', "").split(other):
        raise ValueError(
            f"{path} has one column, {header[:60]!r}: its fields seem to be separated "
            f"by {other!r}, not {delimiter!r}; save it with {delimiter!r}, or pass "
            f"delimiter={other!r}."
        )


def _check_widths(
    path: Path, reading: "Reading", delimiter: str, encoding: str
) -> None:
    """Refuse a file with a row that has more or fewer fields than the first."""
    ragged: list[Any] = []

    def refuse(row: Any) -> str:
        ragged.append(row)
        return "error"

    # Only now: in a file that does not decode, Arrow cannot pass a row to Python.
    with contextlib.suppress(pa.ArrowInvalid, UnicodeError):
        _parse(path, reading, delimiter, encoding, refuse)
    if ragged:
        _refuse_ragged(path, ragged[0], reading, _has_quotes(reading, delimiter))


def _convert_options(reading: "Reading") -> Any:
    """Keep texts and labels as written: "NA" and "null" are words, "007" a name.

    Only an empty cell without quotes is null. Other columns get Arrow's types.
    """
    from pyarrow import csv

    return csv.ConvertOptions(
        column_types={name: pa.large_string() for name in reading.wanted},
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )


def _refuse_ragged(path: Path, row: Any, reading: "Reading", quoting: bool) -> NoReturn:
    number = row.number - (1 if reading.columns is not None else 2)
    hint = "add what is missing, or quote fields that hold the delimiter"
    if quoting and "\n" in row.text.rstrip("\r\n"):
        hint = 'look for a quote (") that is never closed, or pass quoting=False'
    elif not quoting and '"' in row.text:
        hint = "pass quoting=True if quotes (\") enclose the file's fields"
    start = row.text[:40] + ("..." if len(row.text) > 40 else "")
    raise ValueError(
        f"{path} needs {row.expected_columns} fields a row, but row {number:,} has "
        f"{row.actual_columns} ({start!r}); {hint}."
    ) from None


def _check_last_quote(path: Path, table: pa.Table, encoding: str) -> None:
    """Refuse a file whose last field opens a quote that nothing closes.

    Arrow, like Python's csv module, takes all the rest of the file as that field.
    The field then is the file's very end, right behind its opening quote.
    """
    if not len(table):
        return
    value = table.column(table.num_columns - 1)[-1].as_py()
    if not isinstance(value, str) or not value.strip('"'):
        return
    tail = ('"' + value.replace('"', '""')).encode(encoding.removesuffix("-sig"))
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - len(tail)))
        if file.read() == tail:
            raise ValueError(
                f"{path} ends inside a quoted field that begins in row "
                f"{len(table) - 1:,} ({value[:40]!r}); close the quote, or pass "
                "quoting=False."
            )
