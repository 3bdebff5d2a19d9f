"""Read CSV, TSV, JSON lines and Parquet files into Arrow tables.

Arrow parses every file; Python looks at single lines only to explain a failure.
Rows are counted from 0 without the header, everywhere in this package; lines, where
a message names one, are counted from 1 as editors do.
"""

import codecs
import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from kbert.data.delimited import read_delimited
from kbert.data.encodings import (
    block_bytes,
    check_decodes,
    first_line,
    is_binary,
    text_encoding,
)
from kbert.data.values import Kind

DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
PARQUET_SUFFIXES = (".parquet", ".pq")
SUFFIXES = (*DELIMITERS, *JSON_SUFFIXES, *PARQUET_SUFFIXES)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What to read from a source, and how.

    Args:
        text: column of the texts.
        label: column of the labels; `None` reads none.
        text_pair: column of the second texts of sentence pairs.
        encoding: of text files; a UTF-8 byte order mark is skipped.
        columns: names of a delimited file's columns, for a file without header.
        delimiter: character between a delimited file's fields; `None` goes by the
            file's name (`.csv`: comma, `.tsv`: tab).
        quoting: whether `"` quotes fields; `None`: unless the delimiter is a tab.
        kind: of the labels; see `kbert.data.values`.
        separator: what stands between the labels of a row that has several.
    """

    text: str = "text"
    label: str | Sequence[str] | None = "label"
    text_pair: str | None = None
    encoding: str = "utf-8"
    columns: Sequence[str] | None = None
    delimiter: str | None = None
    quoting: bool | None = None
    kind: Kind = "classes"
    separator: str | None = None

    @property
    def text_columns(self) -> tuple[str, ...]:
        """Names of the columns that must hold text."""
        return (self.text,) if self.text_pair is None else (self.text, self.text_pair)

    @property
    def wanted(self) -> tuple[str, ...]:
        """Names of the text columns and, if there is one, the label column."""
        label = [self.label] if isinstance(self.label, str) else self.label or ()
        return (*self.text_columns, *label)


def read_file(path: Path, reading: Reading) -> tuple[pa.Table, str]:
    """Read one file.

    Args:
        path: file to read; its name's ending tells the format.
        reading: columns wanted, encoding and format of delimited text.

    Returns:
        The table, and the format in words (`"CSV"`, `"Parquet"`, ...).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is empty, damaged, of another format or encoding.
    """
    _check_is_file(path)
    suffix = path.suffix.lower()
    delimiter = reading.delimiter or DELIMITERS.get(suffix)
    if delimiter is not None:
        words = {",": "CSV", "\t": "TSV"}.get(delimiter, "delimited text")
        return read_delimited(path, reading, delimiter), words
    if reading.columns is not None or reading.quoting is not None:
        raise ValueError(
            f"columns= and quoting= describe delimited text, but {path} is not named "
            f"{' or '.join(DELIMITERS)}; pass delimiter= too, or leave them out."
        )
    if suffix in JSON_SUFFIXES:
        return _read_json_lines(path, reading), "JSON lines"
    if suffix in PARQUET_SUFFIXES:
        return _read_parquet(path, reading), "Parquet"
    raise ValueError(
        f"cannot tell the format of {path} from its ending {suffix!r}; name it "
        f'{", ".join(SUFFIXES)}, or pass delimiter="," (or "\\t") for delimited text.'
    )


def flat_columns(schema: pa.Schema, reading: Reading) -> list[str]:
    """Return the names of the columns wanted and of those with one plain value a row.

    Other nested and binary columns (embeddings, images) are never read: they can be a
    hundred times larger than the text and nothing here uses them.
    """
    return [
        field.name
        for field in schema
        if field.name in reading.wanted
        or not (pa.types.is_nested(field.type) or is_binary(field.type))
    ]


def suggest(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?`, or `.` when no known name is near."""
    lowered = {other.lower(): other for other in known}
    near = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.5)
    return f"; did you mean {lowered[near[0]]!r}?" if near else "."


def _check_is_file(path: Path) -> None:
    if path.is_dir():
        raise ValueError(
            f"{path} is a folder, not a file; pass one file in it, such as "
            f"{path / 'train.csv'}."
        )
    if not path.exists():
        folder = path.parent
        siblings = [p.name for p in folder.iterdir()] if folder.is_dir() else []
        where = "" if folder.is_dir() else f" (and no folder {folder})"
        raise FileNotFoundError(
            f"there is no file {path}{where}{suggest(path.name, siblings)}"
        )
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty (0 bytes); pass a file with rows.")


# === JSON lines ===


def _read_json_lines(path: Path, reading: Reading) -> pa.Table:
    encoding = text_encoding(path, reading.encoding)
    try:
        table = _parse_json_lines(path, encoding, None)
        # Arrow turns a column of nothing but dates into timestamps; texts stay texts.
        dates = [
            (field.name, pa.string())
            for field in table.schema
            if field.name in reading.wanted and pa.types.is_temporal(field.type)
        ]
        if dates:
            table = _parse_json_lines(path, encoding, pa.schema(dates))
        table = table.select(flat_columns(table.schema, reading))
        table.validate(full=True)  # Arrow's JSON reader takes any bytes as text
    except (pa.ArrowInvalid, UnicodeError) as error:
        check_decodes(path, encoding)
        _explain_json_lines(path, encoding, reading.wanted)
        raise ValueError(f"cannot read {path}: {first_line(error)}.") from None
    return table


def _parse_json_lines(path: Path, encoding: str, schema: pa.Schema | None) -> pa.Table:
    from pyarrow import json

    with path.open("rb") as file:
        if file.read(3) != codecs.BOM_UTF8:
            file.seek(0)
        stream: Any = file
        if encoding != "utf-8":
            stream = pa.transcoding_input_stream(pa.PythonFile(file), encoding, "utf-8")
        return json.read_json(
            stream,
            read_options=json.ReadOptions(block_size=block_bytes(path)),
            parse_options=json.ParseOptions(explicit_schema=schema),
        )


def _explain_json_lines(path: Path, encoding: str, wanted: tuple[str, ...]) -> None:
    """Raise a sentence about the first line that is no object or changes a type."""
    import json

    kinds: dict[str, type] = {}
    codec = "utf-8-sig" if encoding == "utf-8" else encoding
    with path.open(encoding=codec, newline="\n") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except ValueError as error:
                reason = first_line(error).partition(": line")[0]
                raise ValueError(
                    f"{path} is not JSON in line {number:,}: {reason}; write one "
                    "object a line."
                ) from None
            if not isinstance(value, dict):
                raise ValueError(
                    f"{path} holds a {type(value).__name__}, not an object, in line "
                    f"{number:,}; write one object a line."
                )
            _check_kinds(path, number, value, wanted, kinds)


def _check_kinds(
    path: Path,
    number: int,
    value: dict,
    wanted: tuple[str, ...],
    kinds: dict[str, type],
) -> None:
    for name in wanted:
        if value.get(name) is None:
            continue
        kind = type(value[name])
        first = kinds.setdefault(name, kind)
        if kind is not first and {kind, first} != {int, float}:
            raise ValueError(
                f"{name!r} of {path} holds {first.__name__} at first and "
                f"{kind.__name__} in line {number:,} ({value[name]!r}); write one type."
            )


# === Parquet ===


def _read_parquet(path: Path, reading: Reading) -> pa.Table:
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            return file.read(columns=flat_columns(file.schema_arrow, reading))
    except (pa.ArrowException, OSError) as error:
        raise ValueError(
            f"cannot read {path} as Parquet: {first_line(error)}; write it again, "
            "or name it by its format."
        ) from None
