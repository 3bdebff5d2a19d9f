"""Copy files record by record, leaving records out and replacing single values.

What is not changed keeps its bytes: quoting, number formats, line ends, white space.
"""

import codecs
import io
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

import pyarrow as pa

from kbert.data.delimited import choose_delimiter
from kbert.data.delimiters import find_excel_line, read_head
from kbert.data.encodings import choose_encoding
from kbert.data.files import (
    DELIMITED_SUFFIXES,
    DELIMITERS,
    JSON_SUFFIXES,
    PARQUET_SUFFIXES,
    Reading,
)
from kbert.data.opening import format_suffix, open_bytes

Values = Mapping[int, Mapping[str, str]]  # row to column to new text
_TO_CLOSING_QUOTE = re.compile(r'(?:[^"]|"")*"(?!")')
_LINE_END = re.compile(r"\r?\n?\Z")
_BYTE_ORDER_MARKS = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


def copy_records(
    path: Path,
    out: Path,
    reading: Reading,
    names: Sequence[str],
    dropped: Collection[int],
    values: Values,
) -> tuple[dict[int, str], int]:
    """Copy a file without some rows and with some values replaced.

    Args:
        path: file to read.
        out: file to write, in the same format.
        reading: how the file was read.
        names: the columns that were read from it.
        dropped: rows to leave out, 0-based, the header not counted.
        values: new texts.

    Returns:
        The rows that were left out, as they stood in the file (Parquet rows as JSON),
        and how many rows the file has.

    Raises:
        ValueError: the file's format is none that is read here.
        OSError: a file cannot be read or written.
    """
    suffix = format_suffix(path)
    if suffix in PARQUET_SUFFIXES and reading.delimiter is None:
        return _copy_parquet(path, out, dropped, values)
    encoding = choose_encoding(path, reading.encoding)[0]
    codec = _find_codec(path, encoding)
    with (
        open_bytes(path) as stream,
        io.TextIOWrapper(stream, encoding=codec, newline="") as file,
        out.open("w", encoding=codec, newline="") as target,
    ):
        if suffix in JSON_SUFFIXES and reading.delimiter is None:
            return _copy_json(file, path, target, dropped, values)
        if suffix not in DELIMITED_SUFFIXES and reading.delimiter is None:
            raise ValueError(
                f"cannot write {path.suffix} files; save {path} as CSV first."
            )
        head = read_head(path, encoding)
        mark = choose_delimiter(path, head, reading, DELIMITERS.get(suffix))
        top = file.readline() if find_excel_line(head) else ""
        form = _Form(file, mark, reading, names, top)
        return _copy_delimited(form, target, dropped, values)


def _find_codec(path: Path, encoding: str) -> str:
    """Name a codec that keeps a byte order mark as a character."""
    name = codecs.lookup(encoding).name
    if name == "utf-16":
        with open_bytes(path) as file:
            return _BYTE_ORDER_MARKS.get(file.read(2), "utf-16-le")
    return "utf-8" if name == "utf-8-sig" else name


# === Delimited text ===


class _Form:
    """How a delimited file is laid out, found from its first record."""

    def __init__(
        self,
        file: IO[str],
        mark: str,
        reading: Reading,
        names: Sequence[str],
        top: str,
    ) -> None:
        """Read the header, if there is one; `top` is Excel's own line above it."""
        self.file = file
        self.header = top
        self.names = list(names) if reading.columns is None else list(reading.columns)
        self.delimiter, self.quoting = mark, _has_quotes(mark, reading)
        if reading.columns is not None:
            return
        self.header = next(self.records(), "")
        while not _LINE_END.sub("", self.header) and self.header:
            self.header += next(self.records(), "")
        self.names = self.fields(self.header.lstrip("\ufeff\r\n"))
        self.header = top + self.header
        if not set(names) <= set(self.names):
            raise ValueError(
                f"the header of the file has no columns {', '.join(names)}."
            )

    def records(self) -> Iterator[str]:
        """Yield the records that follow, with their line ends."""
        record, inside = [], False
        for line in self.file:
            record.append(line)
            inside = self.quoting and self._ends_inside(line, inside)
            if not inside:
                yield "".join(record)
                record = []
        if record:
            yield "".join(record)

    def _ends_inside(self, line: str, inside: bool) -> bool:
        """Whether a quoted field is open at the end of a line."""
        if '"' not in line:
            return inside
        return self._spans(line, inside)[1]

    def spans(self, record: str) -> list[tuple[int, int]]:
        """Return where each field of a record begins and ends, quotes included."""
        return self._spans(_LINE_END.sub("", record), False)[0]

    def _spans(self, text: str, inside: bool) -> tuple[list[tuple[int, int]], bool]:
        found: list[tuple[int, int]] = []
        start = 0
        while True:
            place = start
            if inside or (self.quoting and text.startswith('"', start)):
                closing = _TO_CLOSING_QUOTE.match(text, start + (not inside))
                if closing is None:
                    return found, True
                place, inside = closing.end(), False
            end = text.find(self.delimiter, place)
            found.append((start, len(text) if end < 0 else end))
            if end < 0:
                return found, False
            start = end + len(self.delimiter)

    def fields(self, record: str) -> list[str]:
        """Return the values of a record."""
        values = [record[first:last] for first, last in self.spans(record)]
        return list(map(_unquote, values)) if self.quoting else values

    def replace(self, record: str, values: Mapping[str, str]) -> str:
        """Put new values in a record."""
        spans = self.spans(record)
        for name in sorted(values, key=self.names.index, reverse=True):
            first, last = spans[self.names.index(name)]
            record = record[:first] + self._quote(values[name]) + record[last:]
        return record

    def _quote(self, value: str) -> str:
        """Quote where it is needed; an empty cell without quotes would be null."""
        needs = not value or any(c in value for c in (self.delimiter, '"', "\r", "\n"))
        if not self.quoting or not needs:
            return value
        return '"' + value.replace('"', '""') + '"'


def _has_quotes(delimiter: str, reading: Reading) -> bool:
    return delimiter != "\t" if reading.quoting is None else reading.quoting


def _unquote(field: str) -> str:
    if not field.startswith('"'):
        return field
    end = field.rindex('"')
    return field[1:end].replace('""', '"') + field[end + 1 :]


def _copy_delimited(
    form: _Form, target: IO[str], dropped: Collection[int], values: Values
) -> tuple[dict[int, str], int]:
    target.write(form.header)
    raw, row = {}, -1
    for record in form.records():
        content = _LINE_END.sub("", record)
        if not content:  # no row to Arrow either
            target.write(record)
            continue
        row += 1
        if row in dropped:
            raw[row] = content
        else:
            target.write(form.replace(record, values[row]) if row in values else record)
    return raw, row + 1


# === JSON lines ===


def _copy_json(
    file: IO[str],
    path: Path,
    target: IO[str],
    dropped: Collection[int],
    values: Values,
) -> tuple[dict[int, str], int]:
    raw, row = {}, -1
    for line in file:
        if not line.strip("\ufeff \t\r\n"):
            target.write(line)
            continue
        if not line.lstrip("\ufeff \t").startswith("{"):
            raise ValueError(
                f"{path} is not JSON lines: {line.strip()[:40]!r} is no object; "
                "write one object a line to have it fixed."
            )
        row += 1
        if row in dropped:
            raw[row] = _LINE_END.sub("", line)
        else:
            target.write(_replace_json(line, values[row]) if row in values else line)
    return raw, row + 1


def _replace_json(line: str, values: Mapping[str, str]) -> str:
    spans = _find_json_values(line)
    for name in sorted(values, key=lambda name: spans[name], reverse=True):
        first, last = spans[name]
        text = json.dumps(values[name], ensure_ascii=False)
        line = line[:first] + text + line[last:]
    return line


def _find_json_values(line: str) -> dict[str, tuple[int, int]]:
    """Return where the values of an object stand in its line."""
    decoder, space = json.JSONDecoder(), re.compile(r"[\s,:]*")

    def skip(place: int) -> int:
        match = space.match(line, place)
        return place if match is None else match.end()

    spans, place = {}, skip(line.index("{") + 1)
    while line[place] != "}":
        name, place = decoder.raw_decode(line, place)
        start = skip(place)
        _, place = decoder.raw_decode(line, start)
        spans[name] = (start, place)
        place = skip(place)
    return spans


# === Parquet ===


def _copy_parquet(
    path: Path, out: Path, dropped: Collection[int], values: Values
) -> tuple[dict[int, str], int]:
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        table = file.read()
        group = file.metadata.row_group(0)
    for name in {name for changed in values.values() for name in changed}:
        place = table.column_names.index(name)
        texts = table.column(name).to_pylist()
        for row, changed in values.items():
            texts[row] = changed.get(name, texts[row])
        kind = table.schema.field(place)
        table = table.set_column(place, kind, pa.array(texts, kind.type))
    raw = {
        row: json.dumps(
            table.slice(row, 1).to_pylist()[0], default=str, ensure_ascii=False
        )
        for row in sorted(dropped)
    }
    kept = [row for row in range(len(table)) if row not in dropped]
    parquet.write_table(
        table.take(kept),
        out,
        compression=group.column(0).compression.lower().replace("uncompressed", "none"),
        row_group_size=max(1, group.num_rows),
    )
    return raw, len(table)
