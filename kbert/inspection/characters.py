"""Find and repair characters that do not belong in a text.

Mojibake is text that was decoded in the wrong encoding, such as `cafÃ©` for `café`.
ftfy knows its patterns; here a repair counts only where nothing that looks garbled is
left of it. What passed through two wrong encodings is tried too: `Û` and its like, as
in the Kaggle disaster tweets, were UTF-8 read as Windows-1252, written in Mac Roman and
read as Latin-1.
"""

import contextlib
import os
import re
import unicodedata
from collections.abc import Callable

import numpy as np

from kbert.inspection.rows import Rows

_BIDI = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_ODD = (
    "\x00-\x08\x0b\x0c\x0e-\x1f\x7f"  # controls, but for tab and line ends
    "\u00ad\u200b\u2060\ufeff"  # invisible: hyphen, space, joiner, byte order mark
    f"{_BIDI}"
    "\ufff9-\ufffb\ufffe\uffff\ud800-\udfff"  # annotation, no characters, surrogates
)
_ODD_CHARACTER = re.compile(f"[{_ODD}]")
_BIDI_CHARACTER = re.compile(f"[{_BIDI}]")
_WRITTEN_RIGHT_TO_LEFT = re.compile(
    "[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff]"
)
# RE2 knows no surrogates, and Arrow's texts hold none.
_ODD_OR_LOST = (
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x{ad}\x{200b}\x{2060}\x{feff}\x{61c}"
    r"\x{200e}\x{200f}\x{202a}-\x{202e}\x{2066}-\x{2069}\x{fff9}-\x{ffff}]"
)
_SHOWN = 10  # characters around a repair
_BEYOND_ASCII = r"[^\x00-\x7f]"
# Controls that Latin-1 makes of other encodings' letters, and what decoders put for
# bytes they cannot read.
_UNREADABLE = re.compile("[\x80-\x9f\ufffd]")
# Signs of Arabic and Syriac that stand for nothing without a letter of theirs: what
# looks repaired to them was no UTF-8.
_LONE_SIGN = re.compile(
    "^[^\u0620-\u064a\u0710-\u072f]*[\u0600-\u0605\u06dd\u070f\u08e2]"
)
# Bytes that Windows-1252 lacks went through Mac Roman as they were.
_NOT_IN_WINDOWS = {
    ord(bytes([byte]).decode("mac_roman")): byte
    for byte in (0x81, 0x8D, 0x8F, 0x90, 0x9D)
}


def repair_encoding(text: str) -> str | None:
    """Undo a wrong decoding.

    Args:
        text: any text.

    Returns:
        The text, itself where nothing looks garbled; `None` where something does and
        no repair is sure.
    """
    if text.isascii() or _looks_fine(text):
        return text
    repaired = []
    for undo in (_undo_one, _undo_two):
        with contextlib.suppress(UnicodeError):
            repaired.append(undo(text))
    # Undoing a wrong decoding shortens a text: the shortest repair is the furthest.
    sure = sorted(filter(_looks_fine, repaired), key=len)
    return sure[0] if sure else None


def _looks_fine(text: str) -> bool:
    from ftfy.badness import badness

    if _LONE_SIGN.search(text):
        return False
    return not (_UNREADABLE.search(text) or badness(text))


def _undo_one(text: str) -> str:
    import ftfy

    return ftfy.fix_encoding(text)


def _undo_two(text: str) -> str:
    read = text.encode("latin-1").decode("mac_roman")
    return _undo_one(read.translate(_NOT_IN_WINDOWS))


def strip_odd_characters(text: str) -> str:
    """Take invisible and control characters out of a text.

    Those from U+0080 to U+009F are left: they are the sign of a wrong decoding.
    Controls that stand for white space become a space. Direction marks stay in a text
    with letters that are written from right to left; joiners, which Persian, Hindi and
    emoji need, always stay.

    Args:
        text: any text.

    Returns:
        The text, itself where it holds none.
    """
    odd = _find_odd(text)
    if not odd:
        return text
    table = {ord(c): " " if c.isspace() else None for c in odd}
    return text.translate(table)


def _find_odd(text: str) -> set[str]:
    odd = set(_ODD_CHARACTER.findall(text))
    if odd and _WRITTEN_RIGHT_TO_LEFT.search(text):
        odd = {c for c in odd if not _BIDI_CHARACTER.match(c)}
    return odd


def find_odd(rows: Rows) -> tuple[np.ndarray, list[str]]:
    """Find rows with invisible or control characters.

    Args:
        rows: all rows.

    Returns:
        Positions, int64, and for each which characters it holds.
    """
    found, details = [], []
    for positions, columns in rows.chunks(rows.matching(_ODD_OR_LOST)):
        for position, texts in zip(
            positions.tolist(), zip(*columns, strict=True), strict=True
        ):
            odd = set[str]().union(*map(_find_odd, texts))
            if odd:
                found.append(position)
                details.append(", ".join(map(_name, sorted(odd))))
    return np.array(found, np.int64), details


def _name(character: str) -> str:
    name = unicodedata.name(character, "control character").lower()
    return f"U+{ord(character):04X} {name}"


def may_need_repair(rows: Rows) -> np.ndarray:
    """Return the positions of rows that a repair may change, rising."""
    return np.union1d(rows.matching(_BEYOND_ASCII), rows.matching(_ODD_OR_LOST))


def find_mojibake(rows: Rows) -> tuple[dict[int, str], list[int]]:
    """Find rows that were decoded wrongly.

    Args:
        rows: all rows.

    Returns:
        Position to what the repair changes first, and the positions of rows that look
        garbled and cannot be repaired.
    """
    repaired: dict[int, str] = {}
    garbled: list[int] = []
    for positions, columns in rows.chunks(rows.matching(_BEYOND_ASCII)):
        for position, texts in zip(
            positions.tolist(), zip(*columns, strict=True), strict=True
        ):
            mended = [repair_encoding(text) for text in texts]
            fixed = [text for text in mended if text is not None]
            if len(fixed) < len(texts):
                garbled.append(position)
            elif tuple(fixed) != texts:
                pair = " | ".join(texts), " | ".join(fixed)
                repaired[position] = _describe_repair(*pair)
    return repaired, garbled


def _describe_repair(before: str, after: str) -> str:
    """Show the first place that a repair changes."""
    place = len(os.path.commonprefix([before, after]))
    start = max(0, place - _SHOWN)
    shown = [f"{text[start : place + _SHOWN]!r}" for text in (before, after)]
    return f"{shown[0]} is {shown[1]}"


REPAIRS: dict[str, Callable[[str], str]] = {
    "mojibake": lambda text: text if (r := repair_encoding(text)) is None else r,
    "odd_characters": strip_odd_characters,
}
