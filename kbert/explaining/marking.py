"""A text cut into its words, each with the share that it has in a prediction."""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

# Words below this share of the strongest are not marked: nearly all have some.
_MARKED_SHARE = 0.1


class _Weighted(Protocol):
    @property
    def attribution(self) -> float: ...


Weighted = TypeVar("Weighted", bound=_Weighted)


@dataclass(frozen=True)
class Segment:
    """A word, or what stands between two words.

    Args:
        text: as it stands in the text.
        attribution: what the word adds; `None` for what the model did not read.
        share: attribution over the largest of all words, in [-1, 1].
    """

    text: str
    attribution: float | None = None
    share: float = 0.0

    @property
    def is_marked(self) -> bool:
        """Whether the word is among those that count."""
        return abs(self.share) >= _MARKED_SHARE


def segment_text(
    text: str, part: str, words: Sequence[Mapping[str, Any]]
) -> list[Segment]:
    """Cut a text into words and what stands between them.

    Args:
        text: as the encoder reads it.
        part: `text` or `text_pair`: which of the words are its own.
        words: of all parts: `text`, `attribution`, `part`, `start` and `end`.

    Returns:
        Segments whose texts, joined, are the text.
    """
    largest = max((abs(word["attribution"]) for word in words), default=0.0) or 1.0
    segments, done = [], 0
    for word in sorted(
        (one for one in words if one["part"] == part), key=lambda one: one["start"]
    ):
        start = max(done, word["start"])
        if start > done:
            segments.append(Segment(text[done:start]))
        if word["end"] > start:
            value = word["attribution"]
            segments.append(Segment(text[start : word["end"]], value, value / largest))
            done = word["end"]
    if done < len(text):
        segments.append(Segment(text[done:]))
    return segments


def cut_segments(segments: Sequence[Segment], limit: int) -> list[Segment]:
    """Keep the first characters of a segmented text.

    Args:
        segments: in order.
        limit: most characters to keep.

    Returns:
        Segments; a last one `…` where something was cut.
    """
    kept: list[Segment] = []
    room = limit
    for segment in segments:
        if room <= 0:
            return [*kept, Segment("…")]
        cut = segment.text[:room]
        kept.append(replace(segment, text=cut))
        room -= len(segment.text)
    return [*kept, Segment("…")] if room < 0 else kept


def find_strongest(
    words: Sequence[Weighted], sign: int, limit: int
) -> Sequence[Weighted]:
    """Find the words that count most, for or against.

    Args:
        words: of an explanation.
        sign: 1 for those that add, -1 for those that take away.
        limit: most words to return.

    Returns:
        The strongest first.
    """
    found = [word for word in words if sign * word.attribution > 0]
    return sorted(found, key=lambda word: -sign * word.attribution)[:limit]


def make_printable(text: str) -> str:
    """Take out what would move a terminal's cursor or break a page.

    Args:
        text: any.

    Returns:
        The text with control characters and lone surrogates as U+FFFD, line ends as
        spaces.
    """
    return "".join(
        " " if c in "\n\t\r" else "\ufffd" if _is_control(c) else c for c in text
    )


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs")


def write_signed(value: float) -> str:
    """Write a value with its sign.

    Args:
        value: any.

    Returns:
        Text such as `+1.25`; three significant digits where it is small.
    """
    if value and abs(value) < 0.005:
        return f"{value:+.1e}"
    return f"{value:+.2f}"
