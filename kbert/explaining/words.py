"""Where in a text each of the encoder's tokens comes from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kbert.text import Encoded, Preprocessor, Tokenizer, clean_text


@dataclass(frozen=True)
class Place:
    """Where a token of the encoder's row comes from.

    Args:
        column: in the row, from 0.
        part: `text` or `text_pair`.
        word: number of its word in that text, from 0.
        start: first character, in the text as the encoder reads it.
        end: one past its last.
    """

    column: int
    part: str
    word: int
    start: int
    end: int


@dataclass(frozen=True)
class Row:
    """A text, or a pair, as an encoder reads it.

    Args:
        ids: int32 (num_tokens,), those around the texts included.
        inputs: int32 arrays of one row, as the graph takes them: (1, num_tokens), in
            windows (1, num_windows, length).
        columns: int32 (num_windows, length), the tokens of each window; without
            windows all of them as one.
        texts: the text, and the second one of a pair, cleaned.
        places: of the tokens that come from a text.
        num_left_out: tokens that the encoder's length leaves no room for.
    """

    ids: np.ndarray
    inputs: dict[str, np.ndarray]
    columns: np.ndarray
    texts: tuple[str, ...]
    places: tuple[Place, ...]
    num_left_out: int


def read_row(preprocessor: Preprocessor, text: str, text_pair: str | None) -> Row:
    """Encode a text and find each token's place in it.

    Args:
        preprocessor: of the model.
        text: raw.
        text_pair: second text of a pair, or `None`.

    Returns:
        The row.

    Raises:
        ValueError: a text is no string.
    """
    pairs = None if text_pair is None else [text_pair]
    encoded = preprocessor.encode([text], pairs)[:1]
    ids = encoded.ids
    numbered = replace(encoded, ids=np.arange(len(ids), dtype=np.int32))
    shown = numbered.pad()["token_ids"]  # one text alone has no padding
    raw = [text] if text_pair is None else [text, text_pair]
    texts = tuple(_read(one, preprocessor) for one in raw)
    places = []
    for part, one, columns in zip(
        ("text", "text_pair"), texts, _find_columns(ids, encoded, preprocessor),
        strict=False,
    ):  # fmt: skip
        places += _place(preprocessor.tokenizer, part, one, ids, columns)
    left_out = int(encoded.full_lengths[0]) - len(ids)
    return Row(
        ids, encoded.pad(), shown.reshape(-1, shown.shape[-1]), texts, tuple(places),
        max(0, left_out),
    )  # fmt: skip


def _read(text: str, preprocessor: Preprocessor) -> str:
    """Return a text as the tokenizer gets it: cleaned, lone surrogates replaced."""
    if preprocessor.clean is not None:
        text = clean_text(text, preprocessor.clean)
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _find_columns(
    ids: np.ndarray, encoded: Encoded, preprocessor: Preprocessor
) -> list[range]:
    """Find the columns that hold each text."""
    tokenizer, last = preprocessor.tokenizer, len(ids) - 1
    second = int(encoded.second_starts[0])
    if tokenizer.pair_separators == 1:
        if second > last:
            return [range(1, last)]
        return [range(1, second - 1), range(second, last)]
    double = (ids[1:last] == tokenizer.end_id) & (ids[2 : last + 1] == tokenizer.end_id)
    where = np.flatnonzero(double)
    if not len(where):
        return [range(1, last)]
    return [range(1, int(where[0]) + 1), range(int(where[0]) + 3, last)]


def _place(
    tokenizer: Tokenizer, part: str, text: str, ids: np.ndarray, columns: range
) -> list[Place]:
    found = tokenizer._backend.encode(text, add_special_tokens=False)
    numbers = _align(ids[columns.start : columns.stop].tolist(), found.ids)
    return [
        Place(column, part, _word_of(found, number), *found.offsets[number])
        for column, number in zip(columns, numbers, strict=True)
        if number is not None
    ]


def _word_of(found: Any, number: int) -> int:
    word = found.word_ids[number]
    return -1 - number if word is None else word  # one of its own


def _align(kept: Sequence[int], ids: Sequence[int]) -> list[int | None]:
    """Find which tokens of a text were kept: from its start, or start and end."""
    head = 0
    while head < min(len(kept), len(ids)) and kept[head] == ids[head]:
        head += 1
    tail = len(kept) - head
    if list(kept[head:]) == list(ids[len(ids) - tail :]):
        return [*range(head), *range(len(ids) - tail, len(ids))]
    return [*range(head), *[None] * tail]
