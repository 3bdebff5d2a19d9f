"""What stays of a text that is too long: its beginning, both its ends, or windows."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from kbert.ragged import ranges

LongText = Literal["truncate", "head-tail", "windows"]

LONG_TEXTS: tuple[str, ...] = get_args(LongText)
_MAX_WINDOWS = 8


@dataclass(frozen=True)
class Windows:
    """Overlapping windows over a row of tokens.

    A window holds `length` tokens: those of the text that it covers, between the two
    that stand around every text. Each begins `stride` tokens behind the one before,
    but for the last, which ends where the row does and may overlap more.

    Args:
        length: tokens of a window, the two around its text included.
        overlap: tokens of the text that two neighbours share at least.
        most: windows a text at most.
    """

    length: int
    overlap: int
    most: int

    @property
    def stride(self) -> int:
        """Tokens from the start of a window to the start of the next."""
        return self.length - 2 - self.overlap

    @property
    def coverage(self) -> int:
        """Longest row that the windows cover, the tokens around it included."""
        return self.length + (self.most - 1) * self.stride

    def count(self, lengths: np.ndarray) -> np.ndarray:
        """Return how many windows rows of these lengths have, int64 (num_rows,)."""
        beyond = np.maximum(lengths.astype(np.int64) - self.length, 0)
        return 1 + -(-beyond // self.stride)

    def find_starts(self, lengths: np.ndarray) -> np.ndarray:
        """Return where in its row each window begins, row after row."""
        counts = self.count(lengths)
        last = np.repeat(np.maximum(lengths - self.length, 0), counts)
        return np.minimum(_number_within(counts) * self.stride, last)


def resolve_windows(
    long_text: Any, max_length: int, overlap: Any, most: Any
) -> Windows | None:
    """Check what a preprocessor was told about long texts.

    Args:
        long_text: one of `LONG_TEXTS`.
        max_length: tokens of a row.
        overlap: tokens that neighbouring windows share; `None` is a quarter of
            `max_length`.
        most: windows a text; `None` is 8.

    Returns:
        The windows, or `None` where texts are cut.

    Raises:
        ValueError: a setting is unknown, out of range or of no use.
    """
    if long_text not in LONG_TEXTS:
        raise ValueError(
            f"long_text must be one of {', '.join(map(repr, LONG_TEXTS))}; "
            f"received {long_text!r}."
        )
    if long_text != "windows":
        if overlap is not None or most is not None:
            raise ValueError(
                "window_overlap and max_windows are for long_text='windows'; received "
                f"long_text={long_text!r}. Leave them out or change it."
            )
        return None
    room = max_length - 2
    if room < 1:
        raise ValueError(
            "windows need a max_length of at least 3, one token of the text and the "
            f"two around it; received {max_length}."
        )
    overlap = min(max_length // 4, room - 1) if overlap is None else overlap
    if not _is_whole(overlap) or not 0 <= overlap < room:
        raise ValueError(
            f"window_overlap must be a whole number in [0, {room}), tokens of a window "
            f"of max_length={max_length}; received {overlap!r}."
        )
    most = _MAX_WINDOWS if most is None else most
    if not _is_whole(most) or most < 1:
        raise ValueError(
            f"max_windows must be a whole number of at least 1; received {most!r}."
        )
    return Windows(max_length, int(overlap), int(most))


def truncate(lengths: np.ndarray, room: int) -> np.ndarray:
    """Return how many tokens of each text stay, shape (num_texts, num_rows).

    Of a pair the longer text gives way until both are equally long; then both do, and
    an odd token stays with the text that was longer, or with the second.

    Source: `truncate_encodings` (LongestFirst) of the tokenizers library.
    """
    if len(lengths) == 1:
        return np.minimum(lengths, room)
    shorter = np.minimum(lengths.min(axis=0), room // 2)
    longer = np.minimum(lengths.max(axis=0), room - shorter)
    first_is_longer = lengths[0] > lengths[1]
    return np.where(first_is_longer, [longer, shorter], [shorter, longer])


def choose_head(
    starts: np.ndarray, lengths: np.ndarray, kept: np.ndarray
) -> np.ndarray:
    """Return which tokens stay of texts that keep their first ones.

    Args:
        starts: int (n,), first token of each text.
        lengths: int (n,), tokens of each text.
        kept: int (n,), tokens of each that stay.

    Returns:
        int64 (sum of kept,), token numbers, text after text.
    """
    return ranges(starts, kept)


def choose_head_tail(
    starts: np.ndarray, lengths: np.ndarray, kept: np.ndarray
) -> np.ndarray:
    """Return which tokens stay of texts that keep their first and their last ones.

    A quarter of what stays is from the beginning, rounded up, and the rest from the
    end: of 510 tokens 128 and 382.

    Args:
        starts: int (n,), first token of each text.
        lengths: int (n,), tokens of each text.
        kept: int (n,), tokens of each that stay.

    Returns:
        int64 (sum of kept,), token numbers, text after text.

    Source: Sun, Qiu, Xu & Huang (2019), "How to Fine-Tune BERT for Text
        Classification?", section 5.3.1, whose best cut this is on IMDb.
    """
    place = _number_within(kept)
    skipped = np.repeat(lengths - kept, kept)
    heads = np.repeat(-(-kept // 4), kept)
    return np.repeat(starts, kept) + place + np.where(place < heads, 0, skipped)


def _number_within(counts: np.ndarray) -> np.ndarray:
    """Return 0, 1, ... for `counts[0]` values, then the same for the next ones."""
    return ranges(np.zeros_like(counts), counts)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
