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
from typing import Any, NoReturn

import pyarrow as pa

DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
PARQUET_SUFFIXES = (".parquet", ".pq")
SUFFIXES = (*DELIMITERS, *JSON_SUFFIXES, *PARQUET_SUFFIXES)

_BLOCK_BYTES = 256 << 20  # a row longer than this cannot be read; Arrow's limit is 2 GB
_MAGIC = {
    b"PAR1": "a Parquet file",
    b"PK\x03\x04": "a zip archive or a spreadsheet",
    b"\x1f\x8b": "a gzip file",
    b"%PDF": "a PDF",
}


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
    """

    text: str = "text"
    label: str | None = "label"
    text_pair: str | None = None
    encoding: str = "utf-8"
    columns: Sequence[str] | None = None
    delimiter: str | None = None
    quoting: bool | None = None

    @property
    def text_columns(self) -> tuple[str, ...]:
        """Names of the columns that must hold text."""
        return (self.text,) if self.text_pair is None else (self.text, self.text_pair)

    @property
    def wanted(self) -> tuple[str, ...]:
        """Names of the text columns and, if there is one, the label column."""
        return (*self.text_columns, *([] if self.label is None else [self.label]))


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
        return _read_delimited(path, reading, delimiter), words
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
        or not (pa.types.is_nested(field.type) or _is_binary(field.type))
    ]


def suggest(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?`, or `.` when no known name is near."""
    lowered = {other.lower(): other for other in known}
    near = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.5)
    return f"; did you mean {lowered[near[0]]!r}?" if near else "."


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


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


# === Encodings ===


def _text_encoding(path: Path, encoding: str) -> str:
    """Return the codec's own name after refusing files that are no text at all."""
    try:
        "".encode(encoding)
    except LookupError:
        raise ValueError(
            f'unknown encoding {encoding!r}; pass one of Python\'s, such as "utf-8", '
            '"cp1252" or "latin-1".'
        ) from None
    name = codecs.lookup(encoding).name
    with path.open("rb") as file:
        head = file.read(8192)
    for magic, what in _MAGIC.items():
        if head.startswith(magic):
            raise ValueError(f"{path} is {what}, not text; name it by its format.")
    if b"\0" in head and not name.startswith(("utf-16", "utf-32")):
        if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise ValueError(f'{path} is UTF-16, not {name}; pass encoding="utf-16".')
        raise ValueError(
            f"{path} is binary, not text: byte {head.index(0):,} is 0x00; pass a text "
            "file, or name it by its format."
        )
    return "utf-8" if name == "utf-8-sig" else name


def _check_decodes(path: Path, encoding: str) -> None:
    """Raise a sentence about the first byte that is not text in this encoding."""
    decoder = codecs.getincrementaldecoder(encoding)()
    position, line = 0, 1
    with path.open("rb") as file:
        chunk = b"-"
        while chunk:
            chunk = file.read(1 << 20)
            pending = len(decoder.getstate()[0])
            try:
                decoder.decode(chunk, final=not chunk)
            except UnicodeError as error:
                start = getattr(error, "start", 0)
                line += chunk[: max(start - pending, 0)].count(b"\n")
                _refuse_encoding(path, encoding, position - pending + start, line)
            position += len(chunk)
            line += chunk.count(b"\n")


def _refuse_encoding(path: Path, encoding: str, offset: int, line: int) -> NoReturn:
    other = '"cp1252" or "latin-1"' if encoding == "utf-8" else '"utf-8"'
    raise ValueError(
        f"{path} is not {encoding} text: byte {offset:,} (line {line:,}) cannot be "
        f"decoded; name the file's own encoding, such as encoding={other}."
    ) from None


# === Delimited text ===


def _read_delimited(path: Path, reading: Reading, delimiter: str) -> pa.Table:
    from pyarrow import csv

    encoding = _text_encoding(path, reading.encoding)
    quoting = delimiter != "\t" if reading.quoting is None else reading.quoting
    ragged: list[Any] = []

    def refuse(row: Any) -> str:
        ragged.append(row)
        return "error"

    try:
        table = csv.read_csv(
            str(path),
            read_options=csv.ReadOptions(
                use_threads=False,  # with threads Arrow does not know row numbers
                block_size=_block_bytes(path),
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
    except (pa.ArrowInvalid, UnicodeError) as error:
        if ragged:
            _refuse_ragged(path, ragged[0], reading, quoting)
        _check_decodes(path, encoding)
        if "Empty CSV file" in str(error):
            raise ValueError(f"{path} has no line; pass a file with rows.") from None
        raise ValueError(f"cannot read {path}: {_first_line(error)}.") from None
    if any(_is_binary(field.type) for field in table.schema):
        _check_decodes(path, encoding)  # Arrow reads undecodable columns as bytes
    if quoting:
        _check_last_quote(path, table, encoding)
    return table


def _convert_options(reading: Reading) -> Any:
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


def _block_bytes(path: Path) -> int:
    return max(1 << 20, min(2 * path.stat().st_size, _BLOCK_BYTES))


def _refuse_ragged(path: Path, row: Any, reading: Reading, quoting: bool) -> NoReturn:
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


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(". ")


# === JSON lines ===


def _read_json_lines(path: Path, reading: Reading) -> pa.Table:
    encoding = _text_encoding(path, reading.encoding)
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
        _check_decodes(path, encoding)
        _explain_json_lines(path, encoding, reading.wanted)
        raise ValueError(f"cannot read {path}: {_first_line(error)}.") from None
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
            read_options=json.ReadOptions(block_size=_block_bytes(path)),
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
                reason = _first_line(error).partition(": line")[0]
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
            f"cannot read {path} as Parquet: {_first_line(error)}; write it again, "
            "or name it by its format."
        ) from None
