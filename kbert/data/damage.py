"""Say where delimited text is damaged: rows of another width, quotes never closed."""

import contextlib
import csv
import io
import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from kbert.data.delimiters import read_rows
from kbert.data.opening import is_compressed, open_bytes

_MOST_CHECKED_BYTES = 64 << 20  # Python reads about as many in a second
# A field as programs write it that double the quotes in it, as Arrow's RE2 reads it.
_ENCLOSED = r'^"(?:[^"]|"")*""(?:[^"]|"")*"$'
_ONE_MORE = "one more line"
_NO_QUOTING = "pass quoting=False (--no-quoting) if quotes are mere characters"


def check_widths(
    path: Path,
    parse: Callable[[Callable[[Any], str]], Any],
    mark: str,
    quoting: bool,
    encoding: str,
    num_above: int,
) -> None:
    """Refuse a file with a row that has more or fewer fields than the first.

    Args:
        path: the file.
        parse: parses it and calls its argument with each such row.
        mark: delimiter.
        quoting: whether `"` quotes fields.
        encoding: the file's codec.
        num_above: lines above the first row: a header, and Excel's own.

    Raises:
        ValueError: there is such a row; the message names it and its line.
    """
    ragged: list[Any] = []

    def refuse(row: Any) -> str:
        ragged.append(row)
        return "error"

    # Only now: in a file that does not decode, Arrow cannot pass a row to Python.
    with contextlib.suppress(pa.ArrowInvalid, UnicodeError):
        parse(refuse)
    if not ragged:
        return
    row = ragged[0]
    line = _find_line(path, row.number - 1, mark, quoting, encoding)
    number = row.number - 1 - num_above
    where = f"row {number:,}" + ("" if line is None else f" (line {line:,})")
    start = row.text[:40] + ("..." if len(row.text) > 40 else "")
    raise ValueError(
        f"{path} needs {row.expected_columns} fields a row, but {where} has "
        f"{row.actual_columns} ({start!r}); {_advise(row.text, line, mark, quoting)}."
    ) from None


def _advise(text: str, line: int | None, mark: str, quoting: bool) -> str:
    text = text.rstrip("\r\n")
    if quoting and "\n" in text:
        opens = next(_open_quotes(text, mark), None)
        if opens is not None and line is not None:
            line += text.count("\n", 0, opens)
            return f'the quote (") in line {line:,} is never closed: close it, or ' + (
                _NO_QUOTING
            )
        return f'look for a quote (") that is never closed, or {_NO_QUOTING}'
    if not quoting and '"' in text:
        return "pass quoting=True (--quoting) if quotes (\") enclose the file's fields"
    return "add what is missing, or quote fields that hold the delimiter"


def _open_quotes(text: str, mark: str) -> Iterator[int]:
    """Yield where fields begin with a quote that closes in a later line, or never."""
    position = 0
    while 0 <= position < len(text):
        if text[position] == '"':
            opened = position
            position = _find_close(text, position + 1)
            if position < 0 or "\n" in text[opened:position]:
                yield opened
            if position < 0:
                return
        position = text.find(mark, position)
        position = position + 1 if position >= 0 else len(text)


def _find_close(text: str, position: int) -> int:
    """Return where a quoted field's closing quote is; -1 if there is none."""
    while True:
        position = text.find('"', position)
        if position < 0 or text[position : position + 2] != '""':
            return position
        position += 2


def _find_line(
    path: Path, number: int, mark: str, quoting: bool, encoding: str
) -> int | None:
    """Return the line, from 1, where a row begins; `number` counts all, from 0."""
    line, count = 1, 0
    with _open_text(path, encoding) as file:
        rows = read_rows(file, mark, quoting)
        try:
            for row in rows:
                if row and count == number:
                    return line
                count += bool(row)
                line = rows.line_num + 1
        except csv.Error:  # a field longer than the module takes
            return line if count == number else None
    return None


@contextlib.contextmanager
def _open_text(path: Path, encoding: str) -> Iterator[io.TextIOWrapper]:
    codec = "utf-8-sig" if encoding == "utf-8" else encoding
    with open_bytes(path) as file:
        yield io.TextIOWrapper(file, codec, errors="replace", newline="")


def check_last_quote(path: Path, table: pa.Table, mark: str, encoding: str) -> None:
    """Refuse a file whose last field opens a quote that nothing closes.

    Arrow, like Python's csv module, takes all the rest of the file as that field.
    The field then is the file's very end, right behind its opening quote. A field that
    is one line's end looks like that when it is closed, too: a reader has to tell.

    Args:
        path: the file.
        table: what Arrow read.
        mark: delimiter.
        encoding: the file's codec.

    Raises:
        ValueError: the last quote is never closed; the message names its line.
    """
    if not len(table):
        return
    value = table.column(table.num_columns - 1)[-1].as_py()
    if not isinstance(value, str) or not value.strip('"'):
        return
    field = '"' + value.replace('"', '""')
    codecs = ["utf-16-le", "utf-16-be"] if encoding == "utf-16" else [encoding]
    tails = [field.encode(codec, errors="replace") for codec in codecs]
    if _read_end(path, len(tails[0])) not in tails:
        return
    if not value.strip("\r\n") and not _ends_in_quotes(path, mark, encoding):
        return
    with _open_text(path, encoding) as file:
        num_lines = sum(1 for _ in file)
    line = num_lines - value.rstrip("\r\n").count("\n")
    raise ValueError(
        f"{path} ends inside a quoted field that begins in row {len(table) - 1:,} "
        f"(line {line:,}: {value[:40]!r}); close the quote, or {_NO_QUOTING}."
    )


def _ends_in_quotes(path: Path, mark: str, encoding: str) -> bool:
    """Whether a file's end is inside a quoted field: one more line is in it too."""
    with _open_text(path, encoding) as file, contextlib.suppress(csv.Error):
        rows = read_rows(itertools.chain(file, [_ONE_MORE]), mark, True)
        return deque(rows, maxlen=1).pop() != [_ONE_MORE]
    return False  # a field longer than the module takes


def note_odd_quote(path: Path, table: pa.Table, mark: str, encoding: str) -> str | None:
    """Say where a field of several lines goes on behind its closing quote.

    Such a field was most likely never closed, and ended where the next one opens: the
    rows between are in it. But it can be read, so it is not refused.

    Args:
        path: the file.
        table: what Arrow read.
        mark: delimiter.
        encoding: the file's codec.

    Returns:
        A sentence, or `None`.
    """
    if path.stat().st_size > _MOST_CHECKED_BYTES or not _has_lines_in_fields(table):
        return None
    opened = 1
    with _open_text(path, encoding) as file:
        rows = csv.reader(file, delimiter=mark, strict=True)
        try:
            for _ in rows:
                opened = rows.line_num + 1
        except csv.Error as error:
            if "expected after" in str(error) and rows.line_num > opened:
                return (
                    f"A quoted field of {path.name} that begins in line {opened:,} "
                    f"goes on behind the quote that closes it in line "
                    f"{rows.line_num:,}: if a quote was never closed, the rows between "
                    "are part of that field."
                )
    return None


def note_kept_quotes(path: Path, table: pa.Table, names: Sequence[str]) -> str | None:
    """Say where quotes that seem to enclose fields were kept as characters.

    Args:
        path: the file, read without quoting.
        table: what Arrow read.
        names: columns of texts.

    Returns:
        A sentence, or `None`: no text stands between quotes and has two in a row.
    """
    count = 0
    for name in (one for one in names if table.column_names.count(one) == 1):
        found = pc.match_substring_regex(table.column(name), _ENCLOSED)
        count += pc.sum(found).as_py() or 0
    if not count:
        return None
    texts = "1 text stands" if count == 1 else f"{count:,} texts stand"
    return (
        f'{texts} between quotes (") in {path.name}, others in it doubled, and all '
        "are kept; pass quoting=True (--quoting) if they enclose the file's fields."
    )


def _has_lines_in_fields(table: pa.Table) -> bool:
    strings = [
        column
        for column in table.columns
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    ]
    return any(pc.any(pc.match_substring(one, "\n")).as_py() for one in strings)


def _read_end(path: Path, size: int) -> bytes:
    """Return a file's last bytes."""
    with open_bytes(path) as file:
        if not is_compressed(path):
            file.seek(max(0, path.stat().st_size - size))
            return file.read()
        end = b""
        while chunk := file.read(max(size, 1 << 20)):
            end = (end + chunk)[-size:]
        return end
