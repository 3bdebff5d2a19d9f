"""Words to tokens, each sentence in as many windows as it needs."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from kbert.ragged import offsets_of, ranges
from kbert.tasks.windows import Windows, pad_values
from kbert.text import Preprocessor, Tokenizer

# Share of a window on each of its sides that gives context only.
_MARGIN = 4
_IDEOGRAPH = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f"
_RUN = re.compile(rf"[{_IDEOGRAPH}]|[^\s{_IDEOGRAPH}]+")


@dataclass(frozen=True, eq=False)
class WordWindows(Windows):
    """Windows over the words of sentences.

    Args:
        encoded: a row a window.
        words: int64 (num_tokens,), the word that a token is the first of, counted
            over all sentences; -1 for other tokens, and for words that belong to
            another window. Each word occurs once.
        labels: int32 (num_words,), ids of the words' tags, or `None`.
    """

    words: np.ndarray
    labels: np.ndarray | None = None

    def label(self, windows: np.ndarray) -> tuple:
        """Return tags and weights, (num_windows, length); weight 1 at first tokens."""
        if self.labels is None:
            return ()
        words, lengths = self.take_words(windows)
        is_first = words >= 0
        labels = np.where(is_first, self.labels[words], 0)
        return pad_values(labels, lengths), pad_values(
            is_first.astype(np.float32), lengths
        )

    def take_words(self, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return `words` of the tokens of some windows, and the windows' lengths."""
        starts = self.encoded.offsets[windows]
        lengths = self.encoded.offsets[windows + 1] - starts
        return self.words[ranges(starts, lengths)], lengths

    def with_labels(self, labels: np.ndarray) -> "WordWindows":
        """Return the same windows with tags."""
        return replace(self, labels=labels)


def encode_words(
    sentences: Sequence[Sequence[str]], preprocessor: Preprocessor
) -> WordWindows:
    """Tokenize sentences word by word.

    A sentence that is too long becomes several windows. Each word belongs to one of
    them, with a quarter of the window's tokens before and behind it for context,
    unless the sentence ends there.

    Args:
        sentences: lists of words.
        preprocessor: of the encoder.

    Returns:
        The windows, sentence after sentence.
    """
    words = list(chain.from_iterable(sentences))
    ids, starts, lengths = _tokenize_words(words, preprocessor.tokenizer)
    firsts = offsets_of(lengths)
    marks = np.full(int(firsts[-1]), -1)
    marks[firsts[:-1]] = np.arange(len(words))
    bounds = firsts[offsets_of(np.fromiter(map(len, sentences), np.int64))]
    return _cut_windows(ids[ranges(starts, lengths)], marks, bounds, preprocessor)


def _tokenize_words(
    words: list[str], tokenizer: Tokenizer
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return ids, and where each word's begin and how many they are: at least one."""
    space = " " if tokenizer.takes_space else ""
    distinct = dict.fromkeys(words)
    ids, offsets = tokenizer.tokenize([space + word for word in distinct])
    starts, lengths = offsets[:-1], np.diff(offsets)
    empty = lengths == 0
    ids = np.append(ids, np.int32(tokenizer.unknown_id))
    starts, lengths = np.where(empty, len(ids) - 1, starts), lengths + empty
    place = dict(zip(distinct, range(len(distinct)), strict=True))
    which = np.fromiter(map(place.__getitem__, words), np.int64, len(words))
    return ids, starts[which], lengths[which]


def _cut_windows(
    ids: np.ndarray, marks: np.ndarray, bounds: np.ndarray, preprocessor: Preprocessor
) -> WordWindows:
    """Cut tokens of sentences that begin at `bounds` into windows."""
    room = preprocessor.max_length - 2
    margin = room // _MARGIN
    core = room - 2 * margin
    lengths = np.diff(bounds)
    counts = np.where(lengths <= room, 1, -(-lengths // core))
    sentence = np.repeat(np.arange(len(lengths)), counts)
    first = ranges(np.zeros_like(counts), counts) * core
    last = np.where(counts[sentence] == 1, lengths[sentence], first + core)
    starts = np.maximum(first - margin, 0)
    stops = np.minimum(last + margin, lengths[sentence])
    taken = ranges(bounds[sentence] + starts, stops - starts)
    encoded = preprocessor.join_rows([ids[taken]], (stops - starts)[None])
    place = ranges(starts, stops - starts)
    is_own = (place >= np.repeat(first, stops - starts)) & (
        place < np.repeat(last, stops - starts)
    )
    words = np.full(len(encoded.ids), -1)
    inside = ranges(encoded.offsets[:-1] + 1, stops - starts)
    words[inside] = np.where(is_own, marks[taken], -1)
    return WordWindows(encoded, words)


# === Raw texts ===


def split_words(text: str) -> np.ndarray:
    """Find the words of a text.

    White space parts words, and each mark of punctuation at the edge of a word is a
    word; inside it is not (U.N., 3.5, well-known). So is each Chinese character.

    Args:
        text: any.

    Returns:
        int64 (num_words, 2), the first character of each word and one past its last.
    """
    spans = chain.from_iterable(_peel(text, *m.span()) for m in _RUN.finditer(text))
    return np.array(list(spans), np.int64).reshape(-1, 2)


def _peel(text: str, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Part marks off the edges of a run of characters without white space."""
    while start < stop and _is_mark(text[start]):
        yield start, start + 1
        start += 1
    end = stop
    while start < end and _is_mark(text[end - 1]):
        end -= 1
    if start < end:
        yield start, end
    yield from ((place, place + 1) for place in range(end, stop))


def _is_mark(character: str) -> bool:
    return unicodedata.category(character)[0] in "PS"
