"""What every reader of text files checks first: is it text, in which encoding?"""

import codecs
from pathlib import Path
from typing import NoReturn

import pyarrow as pa

from kbert.data.opening import is_compressed, open_bytes

_HEAD_BYTES = 8192
_BLOCK_BYTES = 256 << 20  # a row longer than this cannot be read; Arrow's limit is 2 GB
_MOST_UNPACKED = 64  # times that a compressed file is taken to grow
_SPREADSHEET = ("a spreadsheet of an old format", "export the sheet as CSV")
_MAGIC = {
    b"PAR1": ("a Parquet file", "name it .parquet"),
    b"PK\x03\x04": (
        "a zip archive or a spreadsheet",
        "unpack it, or export the sheet as CSV",
    ),
    b"\x1f\x8b": ("a gzip file", "unpack it first, or name it .gz"),
    b"BZh": ("a bzip2 file", "unpack it first, or name it .bz2"),
    b"\xfd7zXZ": ("an xz file", "unpack it first, or name it .xz"),
    b"7z\xbc\xaf": ("a 7-Zip archive", "unpack it first"),
    b"%PDF": ("a PDF", "pass a text file"),
    b"\xd0\xcf\x11\xe0": _SPREADSHEET,
    b"SQLite format 3\0": ("a database", "export a table as CSV"),
    b"ARROW1": ("an Arrow file", "write it as Parquet"),
    b"<!doctype html": ("a web page", "download the file itself"),
    b"<html": ("a web page", "download the file itself"),
}


def choose_encoding(path: Path, encoding: str | None) -> tuple[str, str | None]:
    """Choose a text file's codec after refusing files that are no text at all.

    Only byte order marks are believed. Other bytes can often be decoded in several
    ways, and the wrong one would quietly train on wrong letters.

    Args:
        path: a file that is not empty.
        encoding: as the user names it; `None`: UTF-8, or UTF-16 if the file says so.

    Returns:
        The codec's own name, and a sentence if it was the file that chose it.

    Raises:
        ValueError: there is no such encoding, or the file is no text.
    """
    name = "utf-8" if encoding is None else _find_codec(encoding)
    with open_bytes(path) as file:
        head = file.read(_HEAD_BYTES)
    _check_magic(path, head)
    is_utf16 = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if is_utf16 and encoding is None:
        return "utf-16", (
            f"{path.name} is read as UTF-16, which its byte order mark says; pass "
            "encoding= (--encoding) for another."
        )
    if b"\0" in head and not name.startswith(("utf-16", "utf-32")):
        _check_zeros(path, head, name, is_utf16)
    return "utf-8" if name == "utf-8-sig" else name, None


def _find_codec(encoding: str) -> str:
    try:
        "".encode(encoding)
    except LookupError:
        raise ValueError(
            f'unknown encoding {encoding!r}; pass one of Python\'s, such as "utf-8", '
            '"cp1252" or "latin-1".'
        ) from None
    return codecs.lookup(encoding).name


def _check_magic(path: Path, head: bytes) -> None:
    start = head[:64].removeprefix(codecs.BOM_UTF8).lstrip()
    for magic, (what, advice) in _MAGIC.items():
        if head.startswith(magic) or start.lower().startswith(magic):
            raise ValueError(f"{path} is {what}, not text; {advice}.")


def _check_zeros(path: Path, head: bytes, name: str, is_utf16: bool) -> None:
    """Refuse UTF-16 and binary files; a text may well hold a few zero bytes."""
    every_second = {
        "utf-16-le": head[1::2].count(0),
        "utf-16-be": head[::2].count(0),
    }
    if is_utf16:
        every_second = {"utf-16": len(head)}
    for codec, count in every_second.items():
        # Of every second byte two thirds; but zeros all over are no text.
        if 3 * count > len(head) and (is_utf16 or 5 * head.count(0) < 3 * len(head)):
            raise ValueError(
                f"{path} is UTF-16, not {name}; save it as UTF-8, or pass "
                f'encoding="{codec}" (--encoding {codec}).'
            )
    odd = bytes(set(range(32)) - set(b"\0\t\n\v\f\r\x1a\x1b"))
    if 100 * head.count(0) > len(head) or head.translate(None, odd) != head:
        raise ValueError(
            f"{path} is binary, not text: byte {head.index(0):,} is 0x00; pass a text "
            "file, or name it by its format."
        )


def check_decodes(path: Path, encoding: str) -> None:
    """Raise a sentence about the first byte that is not text in this encoding."""
    decoder = codecs.getincrementaldecoder(encoding)()
    position, line = 0, 1
    with open_bytes(path) as file:
        chunk = b"-"
        while chunk:
            chunk = file.read(1 << 20)
            pending = decoder.getstate()[0]
            try:
                decoder.decode(chunk, final=not chunk)
            except UnicodeError as error:
                start = getattr(error, "start", 0)
                seen = pending + chunk
                line += seen[:start].count(b"\n")
                offset = position - len(pending) + start
                _refuse_encoding(path, encoding, offset, line, seen, start)
            position += len(chunk)
            line += chunk.count(b"\n")


def _refuse_encoding(
    path: Path, encoding: str, offset: int, line: int, seen: bytes, start: int
) -> NoReturn:
    advice = 'name the file\'s own encoding, such as encoding="utf-8" (--encoding)'
    if encoding == "utf-8":
        advice = (
            'save it as UTF-8, or name its own, as encoding="cp1252" (--encoding '
            f"cp1252) if {_read_as_cp1252(seen, start)!r} is right"
        )
    raise ValueError(
        f"{path} is not {encoding} text: byte {offset:,} (line {line:,}) cannot be "
        f"decoded; {advice}."
    ) from None


def _read_as_cp1252(seen: bytes, start: int) -> str:
    """Show the words around a byte as the commonest other encoding has them."""
    begin = seen.rfind(b"\n", 0, start) + 1
    end = seen.find(b"\n", start)
    line = seen[max(begin, start - 15) : end if 0 <= end < start + 16 else start + 16]
    return line.decode("cp1252", errors="replace").strip()


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, without a full stop."""
    return str(error).partition("\n")[0].rstrip(". ")


def is_binary(kind: pa.DataType) -> bool:
    """Whether a column's values are bytes."""
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def block_bytes(path: Path) -> int:
    """Return how much of a file Arrow shall read at a time."""
    grows = _MOST_UNPACKED if is_compressed(path) else 2
    return max(1 << 20, min(grows * path.stat().st_size, _BLOCK_BYTES))
