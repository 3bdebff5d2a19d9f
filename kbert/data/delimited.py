"""Read CSV and other delimited text into Arrow tables, or say why it cannot be."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from kbert.data.damage import (
    check_last_quote,
    check_widths,
    note_kept_quotes,
    note_odd_quote,
)
from kbert.data.delimiters import (
    MARKS,
    find_excel_line,
    guess_delimiter,
    is_json,
    read_head,
)
from kbert.data.encodings import (
    block_bytes,
    check_decodes,
    choose_encoding,
    first_line,
    is_binary,
)
from kbert.data.opening import is_compressed, open_bytes

if TYPE_CHECKING:
    from kbert.data.files import Reading

_SMALL_BLOCK_BYTES = 16 << 20  # read at a time: memory beside the table itself


def read_delimited(
    path: Path, reading: "Reading", usual: str | None
) -> tuple[pa.Table, str, tuple[str, ...]]:
    """Read one file of delimited text.

    Args:
        path: a file that is not empty.
        reading: columns wanted, encoding, delimiter and quoting.
        usual: delimiter that the file's name stands for, or `None`.

    Returns:
        The table, texts and labels as written; the format in words; and what was
        guessed, a sentence each.

    Raises:
        ValueError: the file is damaged or of another format, encoding or delimiter.
    """
    encoding, note = choose_encoding(path, reading.encoding)
    head = read_head(path, encoding)
    notes = [] if note is None else [note]
    mark = choose_delimiter(path, head, reading, usual)
    if reading.delimiter is None and mark != usual:
        notes.append(
            f"{path.name} is read with {MARKS[mark]} ({mark!r}) between its fields, as "
            "its first rows have them; pass delimiter= (--delimiter) for another."
        )
    quoting = mark != "\t" if reading.quoting is None else reading.quoting
    table = _read_table(path, head, reading, mark, quoting, encoding)
    if quoting and (odd := note_odd_quote(path, table, mark, encoding)):
        notes.append(odd)
    if not quoting and reading.quoting is None:
        kept = note_kept_quotes(path, table, reading.text_columns)
        notes += [] if kept is None else [kept]
    words = {",": "CSV", "\t": "TSV"}.get(mark, "delimited text")
    return table, words, tuple(notes)


def choose_delimiter(
    path: Path, head: str, reading: "Reading", usual: str | None
) -> str:
    """Choose what stands between the fields of a file.

    Args:
        path: the file, for messages.
        head: its first lines.
        reading: the delimiter that was asked for, or the columns wanted.
        usual: delimiter that the file's name stands for, or `None`.

    Returns:
        One character.

    Raises:
        ValueError: none was asked for, and none can be guessed.
    """
    if reading.delimiter is not None:
        return reading.delimiter
    guessed = guess_delimiter(
        head, usual, reading.text_columns, reading.columns, reading.quoting
    )
    if guessed is None:
        start = head.lstrip("\r\n").partition("\n")[0].rstrip("\r")
        raise ValueError(
            f"cannot tell what separates the fields of {path} (its first line: "
            f'{start[:60]!r}); pass delimiter="," (--delimiter) or another, or '
            f"columns=({reading.text or 'text'!r},) if each line is one text without "
            "header."
        )
    return guessed


def _read_table(
    path: Path, head: str, reading: "Reading", mark: str, quoting: bool, encoding: str
) -> pa.Table:
    def parse(refuse: Callable[[Any], str] | None = None) -> pa.Table:
        try:
            size = min(block_bytes(path), _SMALL_BLOCK_BYTES)
            return _parse(path, reading, mark, quoting, encoding, size, skipped, refuse)
        except pa.ArrowInvalid as error:
            if "straddl" not in str(error):
                raise
            size = block_bytes(path)  # for a row longer than the small block
            return _parse(path, reading, mark, quoting, encoding, size, skipped, refuse)

    skipped = int(find_excel_line(head) is not None)
    num_above = skipped + (reading.columns is None)
    try:
        table = parse()
    except (pa.ArrowInvalid, UnicodeError) as error:
        check_decodes(path, encoding)
        _check_delimiter(path, head, reading, mark)
        check_widths(path, parse, mark, quoting, encoding, num_above)
        if "Empty CSV file" in str(error):
            raise ValueError(f"{path} has no line; pass a file with rows.") from None
        raise ValueError(f"cannot read {path}: {first_line(error)}.") from None
    if any(is_binary(field.type) for field in table.schema):
        check_decodes(path, encoding)  # Arrow reads undecodable columns as bytes
    if reading.text not in table.column_names:
        _check_delimiter(path, head, reading, mark)
    if quoting:
        check_last_quote(path, table, mark, encoding)
    return table


def _parse(
    path: Path,
    reading: "Reading",
    mark: str,
    quoting: bool,
    encoding: str,
    block_size: int,
    skipped: int,
    refuse: Callable[[Any], str] | None,
) -> pa.Table:
    from pyarrow import csv

    def read(stream: Any) -> pa.Table:
        return csv.read_csv(
            stream,
            read_options=csv.ReadOptions(
                use_threads=False,  # with threads Arrow does not know row numbers
                block_size=block_size,
                skip_rows=skipped,
                column_names=reading.columns,
                encoding=encoding,
            ),
            parse_options=csv.ParseOptions(
                delimiter=mark,
                quote_char='"' if quoting else False,
                newlines_in_values=quoting,
                invalid_row_handler=refuse,
            ),
            convert_options=_convert_options(reading),
        )

    if not is_compressed(path):
        return read(str(path))
    with open_bytes(path) as file:
        return read(file)


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


def _check_delimiter(path: Path, head: str, reading: "Reading", mark: str) -> None:
    """Refuse a file whose header has the text column with another delimiter only."""
    if is_json(head):
        raise ValueError(f"{path} seems to be JSON; name it .jsonl or .json.")
    line = find_excel_line(head)
    header = head[line.end() if line else 0 :].strip().partition("\n")[0].strip()
    if reading.columns is not None or mark in header:
        return
    other = next((other for other in MARKS if other in header), None)
    # A column may well be called "a|b"; one of these names is expected.
    if other is not None and reading.text in header.replace('"', "").split(other):
        raise ValueError(
            f"{path} has one column, {header[:60]!r}: its fields seem to be separated "
            f"by {other!r}, not {mark!r}; pass delimiter={other!r} (--delimiter), or "
            "leave it out."
        )
