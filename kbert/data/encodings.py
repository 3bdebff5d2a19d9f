"""What every reader of text files checks first: is it text, in which encoding?"""

import codecs
from pathlib import Path
from typing import NoReturn

import pyarrow as pa

_BLOCK_BYTES = 256 << 20  # a row longer than this cannot be read; Arrow's limit is 2 GB
_MAGIC = {
    b"PAR1": ("a Parquet file", "name it .parquet"),
    b"PK\x03\x04": (
        "a zip archive or a spreadsheet",
        "unpack it, or export the sheet as CSV",
    ),
    b"\x1f\x8b": ("a gzip file", "unpack it first"),
    b"%PDF": ("a PDF", "pass a text file"),
}


def text_encoding(path: Path, encoding: str) -> str:
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
    for magic, (what, advice) in _MAGIC.items():
        if head.startswith(magic):
            raise ValueError(f"{path} is {what}, not text; {advice}.")
    if b"\0" in head and not name.startswith(("utf-16", "utf-32")):
        if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise ValueError(
                f"{path} is UTF-16, not {name}; save it as UTF-8, or pass "
                'encoding="utf-16".'
            )
        raise ValueError(
            f"{path} is binary, not text: byte {head.index(0):,} is 0x00; pass a text "
            "file, or name it by its format."
        )
    return "utf-8" if name == "utf-8-sig" else name


def check_decodes(path: Path, encoding: str) -> None:
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
    advice = 'name the file\'s own encoding, such as encoding="utf-8"'
    if encoding == "utf-8":
        advice = 'save it as UTF-8, or name its own, as encoding="cp1252" or "latin-1"'
    raise ValueError(
        f"{path} is not {encoding} text: byte {offset:,} (line {line:,}) cannot be "
        f"decoded; {advice}."
    ) from None


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, without a full stop."""
    return str(error).partition("\n")[0].rstrip(". ")


def is_binary(kind: pa.DataType) -> bool:
    """Whether a column's values are bytes."""
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def block_bytes(path: Path) -> int:
    """Return how much of a file Arrow shall read at a time."""
    return max(1 << 20, min(2 * path.stat().st_size, _BLOCK_BYTES))
