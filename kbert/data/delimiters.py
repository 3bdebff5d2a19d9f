"""Guess what separates the fields of delimited text, from its first rows."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from kbert.data.opening import open_bytes

MARKS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "pipes"}
_EXCEL_LINE = re.compile(r'"?sep=([^"\r\n])"?\r?\n', re.IGNORECASE)
HEAD_BYTES = 1 << 17  # as long as the longest field that Python's csv module takes


def read_head(path: Path, encoding: str) -> str:
    """Return the text of a file's first whole lines.

    Args:
        path: a text file, perhaps compressed.
        encoding: its codec; bytes that it cannot decode are replaced.

    Returns:
        The lines, at most `HEAD_BYTES` bytes; without the byte order mark.
    """
    with open_bytes(path) as file:
        head = file.read(HEAD_BYTES)
        whole = not file.read(1)
    codec = "utf-8-sig" if encoding == "utf-8" else encoding
    text = head.decode(codec, errors="replace")
    end = text.rfind("\n") + 1
    return text if whole or not end else text[:end]


def find_excel_line(head: str) -> re.Match[str] | None:
    """Find the line that files for Excel may begin with to name their delimiter.

    Args:
        head: the file's first lines.

    Returns:
        The match of a line such as `sep=;`, whose group 1 is the delimiter.
    """
    return _EXCEL_LINE.match(head)


def is_json(head: str) -> bool:
    """Whether text begins as JSON objects do."""
    return re.match(r'\s*(\[\s*)?\{\s*"', head) is not None


def split_head(head: str, mark: str, quoting: bool | None) -> list[list[str]]:
    """Split the first lines of a file into rows and fields, as its reader would.

    Excel's own line is none of them.

    Args:
        head: the lines.
        mark: delimiter.
        quoting: whether `"` quotes fields; `None`: unless the delimiter is a tab.

    Returns:
        The rows that are not empty.
    """
    quoted = mark != "\t" if quoting is None else quoting
    if line := find_excel_line(head):
        head = head[line.end() :]
    return [
        row for row in read_rows(io.StringIO(head, newline=""), mark, quoted) if row
    ]


def read_rows(lines: Iterable[str], mark: str, quoting: bool) -> Any:
    """Return Python's `csv.reader` for these lines, delimiter and quoting."""
    if quoting:
        return csv.reader(lines, delimiter=mark)
    return csv.reader(lines, delimiter=mark, quoting=csv.QUOTE_NONE)


def guess_delimiter(
    head: str,
    usual: str | None,
    names: Sequence[str] = (),
    columns: Sequence[str] | None = None,
    quoting: bool | None = None,
) -> str | None:
    """Choose the delimiter that makes a table of a file's first rows.

    Excel's own line says it. Else the usual one stays wherever it gives the columns
    wanted; so whatever can be read with it is read with it.

    Args:
        head: the file's first lines.
        usual: delimiter that the file's name stands for, or `None`.
        names: columns that the header has to name.
        columns: names of the columns of a file without header.
        quoting: whether `"` quotes fields; `None`: unless the delimiter is a tab.

    Returns:
        The delimiter; `usual` if several or none would do.
    """
    if line := find_excel_line(head):
        return line[1]
    wanted = set(names)

    def fits(rows: list[list[str]]) -> bool:
        if columns is not None:
            return len(rows[0]) == len(columns)
        return bool(wanted) and wanted <= set(rows[0])

    tables = {}
    for mark in sorted(MARKS, key=lambda mark: mark != usual):  # the usual one first
        if rows := split_head(head, mark, quoting):
            if mark == usual and fits(rows):
                return usual
            tables[mark] = rows
    fitting = [mark for mark, rows in tables.items() if fits(rows)]
    if usual is None and len(fitting) == len(MARKS):
        return "\t"  # one column, whatever the mark: each line is one text
    fitting = [mark for mark in fitting if len(tables[mark][0]) > 1]
    even = [mark for mark, rows in tables.items() if _is_even(rows)]
    if len(fitting) > 1:
        fitting = [mark for mark in fitting if mark in even]
    if not fitting and columns is None and usual not in even:
        fitting = even
    return fitting[0] if len(fitting) == 1 else usual


def _is_even(rows: list[list[str]]) -> bool:
    """Whether there are several fields in the header and as many in every row."""
    return len(rows[0]) > 1 and len({len(row) for row in rows}) == 1
