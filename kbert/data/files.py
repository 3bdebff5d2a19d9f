"""Read CSV, JSON, Parquet and spreadsheet files into Arrow tables.

Arrow parses every file; Python looks at single lines only to explain a failure.
Rows are counted from 0 without the header, everywhere in this package; lines, where
a message names one, are counted from 1 as editors do.
"""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from kbert.data.delimited import read_delimited
from kbert.data.encodings import first_line, is_binary
from kbert.data.json_rows import read_json
from kbert.data.opening import format_suffix
from kbert.data.spreadsheets import (
    OTHER_SPREADSHEETS,
    SPREADSHEET_SUFFIXES,
    read_spreadsheet,
)
from kbert.data.values import Kind

DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
DELIMITED_SUFFIXES = (*DELIMITERS, ".txt")
JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
PARQUET_SUFFIXES = (".parquet", ".pq")
SUFFIXES = (*DELIMITERS, *JSON_SUFFIXES, *PARQUET_SUFFIXES, *SPREADSHEET_SUFFIXES)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What to read from a source, and how.

    Args:
        text: column of the texts.
        label: column of the labels; `None` reads none.
        text_pair: column of the second texts of sentence pairs.
        encoding: of text files; `None`: UTF-8, or UTF-16 with a byte order mark.
        columns: names of a delimited file's columns, for a file without header.
        delimiter: character between a delimited file's fields; `None` goes by the
            file's name (`.csv`: comma, `.tsv`: tab), or by its header if that has
            the columns wanted with another only.
        quoting: whether `"` quotes fields; `None`: unless the delimiter is a tab.
        kind: of the labels; see `kbert.data.values`.
        separator: what stands between the labels of a row that has several.
    """

    text: str = "text"
    label: str | Sequence[str] | None = "label"
    text_pair: str | None = None
    encoding: str | None = None
    columns: Sequence[str] | None = None
    delimiter: str | None = None
    quoting: bool | None = None
    kind: Kind = "classes"
    separator: str | None = None

    def __post_init__(self) -> None:
        """Take a tab for what a shell passes for one; refuse what parts no fields."""
        if self.delimiter is None:
            return
        mark = "\t" if self.delimiter == "\\t" else self.delimiter
        if len(mark) != 1 or mark in '"\r\n' or not mark.isascii():
            raise ValueError(
                "delimiter (--delimiter) must be one ASCII character, not a quote or a "
                f"line's end; received {mark!r}."
            )
        object.__setattr__(self, "delimiter", mark)

    @property
    def text_columns(self) -> tuple[str, ...]:
        """Names of the columns that must hold text."""
        return (self.text,) if self.text_pair is None else (self.text, self.text_pair)

    @property
    def wanted(self) -> tuple[str, ...]:
        """Names of the text columns and, if there is one, the label column."""
        label = [self.label] if isinstance(self.label, str) else self.label or ()
        return (*self.text_columns, *label)

    def flat_columns(self, schema: pa.Schema) -> list[str]:
        """Return the names of columns wanted and of those with one plain value a row.

        Other nested and binary columns (embeddings, images) are never read: they can
        be a hundred times larger than the text and nothing here uses them.
        """
        return [
            field.name
            for field in schema
            if field.name in self.wanted
            or not (pa.types.is_nested(field.type) or is_binary(field.type))
        ]


def read_file(path: Path, reading: Reading) -> tuple[pa.Table, str, tuple[str, ...]]:
    """Read one file.

    Args:
        path: file to read; its name's ending tells the format.
        reading: columns wanted, encoding and format of delimited text.

    Returns:
        The table, the format in words (`"CSV"`, `"Parquet"`, ...), and what was
        guessed, a sentence each.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is empty, damaged, of another format or encoding.
    """
    check_is_file(path)
    suffix = format_suffix(path)
    if reading.delimiter is not None or suffix in DELIMITED_SUFFIXES:
        return read_delimited(path, reading, DELIMITERS.get(suffix))
    if reading.columns is not None or reading.quoting is not None:
        raise ValueError(
            f"columns= and quoting= describe delimited text, but {path} is not named "
            f"{' or '.join(DELIMITERS)}; pass delimiter= too, or leave them out."
        )
    if suffix in JSON_SUFFIXES:
        return read_json(path, reading)
    if suffix in PARQUET_SUFFIXES:
        return _read_parquet(path, reading), "Parquet", ()
    if suffix in SPREADSHEET_SUFFIXES:
        return read_spreadsheet(path, reading)
    if suffix in OTHER_SPREADSHEETS:
        raise ValueError(
            f"{path} is a spreadsheet of a format that kbert does not read; save it as "
            ".xlsx, or the sheet as CSV."
        )
    raise ValueError(
        f"cannot tell the format of {path} from its ending {suffix!r}; name it "
        f'{", ".join(SUFFIXES)}, or pass delimiter="," (or "\\t") for delimited text.'
    )


def suggest(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?`, or `.` when no known name is near."""
    lowered = {other.lower(): other for other in known}
    near = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.61)
    return f"; did you mean {lowered[near[0]]!r}?" if near else "."


def check_is_file(path: Path) -> None:
    """Refuse a path that is no file, or an empty one."""
    if path.is_dir():
        raise ValueError(
            f"{path} is a folder, not a file; pass one file in it, such as "
            f"{path / 'train.csv'}."
        )
    if not path.exists():
        if path.parts[0].endswith(":") and len(path.parts[0]) > 2:  # no drive
            raise FileNotFoundError(
                f"addresses such as {path.parts[0]}// are not read; download the file "
                "and name it."
            )
        folder = path.parent
        siblings = [p.name for p in folder.iterdir()] if folder.is_dir() else []
        where = "" if folder.is_dir() else f" (and no folder {folder})"
        raise FileNotFoundError(
            f"there is no file {path}{where}{suggest(path.name, siblings)}"
        )
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty (0 bytes); pass a file with rows.")


# === Parquet ===


def _read_parquet(path: Path, reading: Reading) -> pa.Table:
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            return file.read(columns=reading.flat_columns(file.schema_arrow))
    except (pa.ArrowException, OSError) as error:
        raise ValueError(
            f"cannot read {path} as Parquet: {first_line(error)}; write it again, "
            "or name it by its format."
        ) from None
