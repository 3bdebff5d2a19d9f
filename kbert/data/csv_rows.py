"""Write CSV that reads back as it was, and read it."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

LONGEST_FIELD = 2**31 - 1  # characters; Python's csv takes 131,072 unless told


class CsvWriter:
    """Python's `csv.writer` with line feeds as line ends.

    Before Python 3.13 it leaves a lone carriage return without quotes where lines end
    with a line feed, and readers then break the row there.

    Args:
        file: of text, opened with `newline=""`.
        **format: further arguments of `csv.writer`, such as `delimiter`.
    """

    def __init__(self, file: IO[str], **format: Any) -> None:
        self._file = file
        self._buffer = io.StringIO(newline="")
        # With this end, fields that hold either character are quoted.
        self._writer = csv.writer(self._buffer, lineterminator="\r\n", **format)

    def writerow(self, row: Sequence[Any]) -> None:
        """Write a row.

        Raises:
            csv.Error: it needs quotes, and the format has none.
        """
        self._writer.writerow(row)
        self._file.write(f"{self._buffer.getvalue()[:-2]}\n")
        self._buffer.seek(0)
        self._buffer.truncate()

    def writerows(self, rows: Iterable[Sequence[Any]]) -> None:
        """Write rows; see `writerow`."""
        for row in rows:
            self.writerow(row)


def read_csv_rows(path: Path) -> Iterator[dict[str, str]]:
    """Read what `CsvWriter` wrote, with a header.

    Args:
        path: of the file.

    Yields:
        A row each, by the names of its columns.
    """
    csv.field_size_limit(LONGEST_FIELD)
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)
