"""Read a table some rows at a time, and write it again with more columns.

What is read is written as it was: no value is taken for a number or a date. Only some
thousand rows are in memory at a time.
"""

import csv
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from kbert.data.csv_rows import LONGEST_FIELD, CsvWriter
from kbert.data.delimited import choose_delimiter
from kbert.data.delimiters import find_excel_line, read_head
from kbert.data.encodings import check_decodes, choose_encoding
from kbert.data.files import (
    DELIMITED_SUFFIXES,
    DELIMITERS,
    JSON_SUFFIXES,
    PARQUET_SUFFIXES,
    Reading,
    check_is_file,
    read_file,
    suggest,
)
from kbert.data.json_rows import flat_items, read_objects
from kbert.data.opening import format_suffix, open_bytes
from kbert.data.spreadsheets import SPREADSHEET_SUFFIXES
from kbert.report.plain import dump_line

CHUNK_ROWS = 8192
Added = Mapping[str, Sequence[Any]]


class Table(ABC):
    """A file of rows, read in chunks of a form of its own.

    Attributes:
        names: of the columns; of JSON, all that any row has.
        suffix: of files that are written; `None`: the input's.

    Args:
        path: file to read.
        reading: how to read it.
    """

    names: list[str]
    suffix: str | None = None

    def __init__(self, path: Path, reading: Reading) -> None:
        self.path, self.reading = path, reading

    @abstractmethod
    def read(self) -> Iterator[Any]:
        """Yield chunks of at most `CHUNK_ROWS` rows, once."""

    @abstractmethod
    def column(self, chunk: Any, name: str) -> list[Any]:
        """Return a column of a chunk."""

    @abstractmethod
    def write(self, file: IO, chunks: Iterator[tuple[Any, Added]]) -> None:
        """Write chunks, each with the columns that are added to it."""

    def require(self, name: str) -> None:
        """Refuse a table that lacks a column."""
        if name not in self.names:
            raise ValueError(
                f"{self.path} has no column {name!r}{suggest(name, self.names)} It has "
                f"{', '.join(self.names[:20])}."
            )


class Delimited(Table):
    """Rows of fields with a character between them; a chunk is a list of lists."""

    def __init__(
        self, path: Path, reading: Reading, delimiter: str, skipped: int = 0
    ) -> None:
        super().__init__(path, reading)
        self._skipped = skipped  # lines above the header
        csv.field_size_limit(LONGEST_FIELD)
        quotes = delimiter != "\t" if reading.quoting is None else reading.quoting
        self._format: dict[str, Any] = {
            "delimiter": delimiter,
            "quoting": csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE,
            "quotechar": '"' if quotes else None,  # a character like any other
        }
        self._encoding, _ = choose_encoding(path, reading.encoding)
        self._rows = self._read_rows()
        if reading.columns is not None:
            self.names = list(reading.columns)
        else:
            self.names = next(self._rows, [])

    def read(self) -> Iterator[list[list[str]]]:
        """Yield lists of rows."""
        while chunk := list(islice(self._rows, CHUNK_ROWS)):
            yield chunk

    def _read_rows(self) -> Iterator[list[str]]:
        codec = "utf-8-sig" if self._encoding == "utf-8" else self._encoding
        number = -2 if self.reading.columns is None else -1
        try:
            with (
                open_bytes(self.path) as stream,
                io.TextIOWrapper(stream, encoding=codec, newline="") as file,
            ):
                lines = islice(file, self._skipped, None)
                for row in csv.reader(lines, strict=True, **self._format):
                    if not row:  # a blank line
                        continue
                    number += 1
                    if number >= 0 and len(row) != len(self.names):
                        raise ValueError(
                            f"{self.path} needs {len(self.names)} fields a row, but "
                            f"row {number:,} has {len(row)}; add what is missing, or "
                            "quote fields that hold the delimiter (a tab: --quoting)."
                        )
                    yield row
        except UnicodeError:
            check_decodes(self.path, self._encoding)
            raise
        except csv.Error as error:
            raise ValueError(
                f"cannot read {self.path} behind row {max(number, 0):,}: {error}; look "
                'for a quote (") that is never closed.'
            ) from None

    def column(self, chunk: list[list[str]], name: str) -> list[str]:
        """Return a column of a chunk."""
        place = self.names.index(name)
        return [row[place] for row in chunk]

    def write(self, file: IO, chunks: Iterator[tuple[Any, Added]]) -> None:
        """Write chunks with a header, unless the file read has none."""
        writer = CsvWriter(file, **self._format)
        is_first = self.reading.columns is None
        try:
            for chunk, added in chunks:
                if is_first:
                    writer.writerow([*self.names, *added])
                    is_first = False
                more = zip(*added.values(), strict=True)
                writer.writerows(
                    [*row, *map(_write_cell, new)]
                    for row, new in zip(chunk, more, strict=True)
                )
                file.flush()
        except csv.Error as error:
            raise ValueError(
                f"cannot write rows of {self.path} without quotes: {error}; pass "
                "quoting=True."
            ) from None


class Spreadsheet(Delimited):
    """Rows of the first sheet; they are written as CSV."""

    suffix = ".csv"

    def __init__(self, path: Path, reading: Reading) -> None:
        self.path, self.reading = path, reading
        self._format = {"delimiter": ",", "quoting": csv.QUOTE_MINIMAL}
        table, _, _ = read_file(path, reading)
        self.names = list(table.column_names)
        columns = (column.to_pylist() for column in table.columns)
        self._rows = (
            ["" if cell is None else str(cell) for cell in row]
            for row in zip(*columns, strict=True)
        )


class Lines(Delimited):
    """Texts, one a line, from a stream; two with a tab between them for pairs."""

    def __init__(
        self, stream: IO[bytes], names: Sequence[str], is_nested: bool = False
    ) -> None:
        self.path, self.reading = Path("-"), Reading()
        self.suffix = ".jsonl" if is_nested else ".csv"  # predictions may be lists
        self.names = list(names)
        self._stream = stream
        self._format = {"delimiter": ",", "quoting": csv.QUOTE_MINIMAL}
        self._rows = self._read_rows()

    def _read_rows(self) -> Iterator[list[str]]:
        for number, line in enumerate(self._stream, start=1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError:
                raise ValueError(
                    f"line {number:,} of standard input is not UTF-8; convert it first."
                ) from None
            fields = text.rstrip("\r\n").split("\t", maxsplit=len(self.names) - 1)
            if len(fields) != len(self.names):
                raise ValueError(
                    f"line {number:,} of standard input has one text; the model takes "
                    "pairs: write a tab between the two."
                )
            yield fields

    def write(self, file: IO, chunks: Iterator[tuple[Any, Added]]) -> None:
        """Write chunks as CSV with a header, or as JSON lines."""
        if self.suffix == ".csv":
            return super().write(file, chunks)
        for chunk, added in chunks:
            rows = [dict(zip(self.names, row, strict=True)) for row in chunk]
            write_objects(file, rows, added)


class JsonLines(Table):
    """One JSON object a line; a chunk is a list of dicts."""

    def __init__(self, path: Path, reading: Reading) -> None:
        super().__init__(path, reading)
        self._encoding, _ = choose_encoding(path, reading.encoding)
        self._list_names()

    def _list_names(self) -> None:
        """Read all rows once: a later one may have what the first has not."""
        names: dict[str, None] = {}
        self._nested: set[str] = set()
        for row in self._read_rows():
            names |= dict.fromkeys(row)
            self._nested |= {name for name, _ in flat_items(row)} - row.keys()
        self.names = list(names)

    def require(self, name: str) -> None:
        """Refuse a table that lacks a column, `outer.inner` included."""
        if name not in self._nested:
            super().require(name)

    def read(self) -> Iterator[list[dict]]:
        """Yield lists of objects."""
        rows = self._read_rows()
        while chunk := list(islice(rows, CHUNK_ROWS)):
            yield chunk

    def _read_rows(self) -> Iterator[dict]:
        codec = "utf-8-sig" if self._encoding == "utf-8" else self._encoding
        try:
            with (
                open_bytes(self.path) as stream,
                io.TextIOWrapper(stream, encoding=codec, newline="\n") as file,
            ):
                for number, line in enumerate(file, start=1):
                    if line.strip():
                        yield self._parse(line, number)
        except UnicodeError:
            check_decodes(self.path, self._encoding)
            raise

    def _parse(self, line: str, number: int) -> dict:
        try:
            value = json.loads(line)
        except ValueError as error:
            reason = str(error).partition(": line")[0]
        else:
            if isinstance(value, dict):
                return value
            reason = f"it holds a {type(value).__name__}"
        raise ValueError(
            f"{self.path} is no JSON object in line {number:,}: {reason}; write one "
            "object a line."
        )

    def column(self, chunk: list[dict], name: str) -> list[Any]:
        """Return a column of a chunk."""
        if name in self._nested:
            return [dict(flat_items(row)).get(name) for row in chunk]
        return [row.get(name) for row in chunk]

    def write(self, file: IO, chunks: Iterator[tuple[Any, Added]]) -> None:
        """Write chunks, an object a line."""
        for chunk, added in chunks:
            write_objects(file, chunk, added)


class Records(JsonLines):
    """Rows of a file that is read at once; they are written as JSON lines."""

    suffix = ".jsonl"

    def __init__(self, path: Path, rows: Sequence[dict[str, Any]]) -> None:
        self.path, self.reading, self._all = path, Reading(), rows
        self._list_names()

    def _read_rows(self) -> Iterator[dict]:
        yield from self._all


class Parquet(Table):
    """Rows of a Parquet file; a chunk is a record batch.

    Attributes:
        types: of added columns, where the values of a chunk may not tell them.

    Args:
        path: file to read.
        reading: how to read it.
    """

    def __init__(self, path: Path, reading: Reading) -> None:
        from pyarrow import parquet

        super().__init__(path, reading)
        self.types: Mapping[str, pa.DataType] = {}
        try:
            self._file = parquet.ParquetFile(path)
        except (pa.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0].rstrip(".")
            raise ValueError(
                f"cannot read {path} as Parquet: {reason}; write it again, or name it "
                "by its format."
            ) from None
        self.names = list(self._file.schema_arrow.names)

    def read(self) -> Iterator[pa.RecordBatch]:
        """Yield record batches."""
        with self._file as file:
            yield from file.iter_batches(CHUNK_ROWS)

    def column(self, chunk: pa.RecordBatch, name: str) -> list[Any]:
        """Return a column of a chunk."""
        return chunk.column(name).to_pylist()

    def write(self, file: IO, chunks: Iterator[tuple[Any, Added]]) -> None:
        """Write chunks; the columns keep their types."""
        from pyarrow import parquet

        writer = None
        try:
            for chunk, added in chunks:
                for name, values in added.items():
                    column = pa.array(values, self.types.get(name))
                    chunk = chunk.append_column(name, column)
                if writer is None:
                    writer = parquet.ParquetWriter(file, chunk.schema)
                writer.write_batch(chunk)
        finally:
            if writer is not None:
                writer.close()


def open_table(path: Path, reading: Reading) -> Table:
    """Open a file by its format.

    Args:
        path: its name's ending tells the format.
        reading: how to read it.

    Returns:
        The table.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is empty, damaged or of no known format.
    """
    check_is_file(path)
    suffix = format_suffix(path)
    if reading.delimiter is not None or suffix in DELIMITED_SUFFIXES:
        head = read_head(path, choose_encoding(path, reading.encoding)[0])
        mark = choose_delimiter(path, head, reading, DELIMITERS.get(suffix))
        return Delimited(path, reading, mark, int(find_excel_line(head) is not None))
    if suffix in JSON_SUFFIXES:
        encoding, _ = choose_encoding(path, reading.encoding)
        head = read_head(path, encoding)
        if head.lstrip("\ufeff \t\r\n").startswith("["):
            return Records(path, read_objects(path, encoding))
        return JsonLines(path, reading)
    if suffix in PARQUET_SUFFIXES:
        return Parquet(path, reading)
    if suffix in SPREADSHEET_SUFFIXES:
        return Spreadsheet(path, reading)
    raise ValueError(
        f"cannot tell the format of {path} from its ending {suffix!r}; name it .csv, "
        ".tsv, .jsonl or .parquet, or pass delimiter= (--delimiter)."
    )


def write_objects(file: IO, rows: Sequence[dict], added: Added) -> None:
    """Write rows with the columns that are added to them, an object a line."""
    for row, new in zip(rows, zip(*added.values(), strict=True), strict=True):
        both = {**row, **dict(zip(added, new, strict=True))}
        file.write(dump_line(both, allow_nan=True) + "\n")  # as it was read
    file.flush()


def _write_cell(value: Any) -> Any:
    """Write a float with the digits it has in float32, and a list as JSON."""
    if isinstance(value, float):
        return f"{value:.7g}"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value
