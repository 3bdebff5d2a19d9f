"""Find texts that are nearly the same: MinHash finds candidates, Jaccard decides.

A text is its words, in lower case without punctuation. Two texts are near duplicates

- when their words are the same, addresses (URLs) included: they differ in case, spaces
  or punctuation only; or
- when both have five words or more and the Jaccard similarity of their pairs of
  adjacent words, addresses left out, reaches a threshold. At .7 one word of eleven
  may differ, or two of twenty-two.

Source: Broder (1997), On the resemblance and containment of documents; the banding is
that of Leskovec, Rajaraman & Ullman, Mining of Massive Datasets, chapter 3. With 32
bands of 4 values two texts at the threshold of .7 become a candidate with probability
1 - (1 - .7^4)^32 = .9998.
"""

import itertools
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np

from kbert.inspection.rows import Rows

NEAR = 0.7
MOST_ROWS = 2_000_000
MOST_COMPARED = 2_000_000
_BANDS, _VALUES = 32, 4
_LEAST_WORDS = 5
_NEIGHBOURS = 20  # a row is compared with so many others of its band, or its group
_REMEMBERED = 1 << 12  # rows whose words are kept: 40 kB each for long reviews
# Scripts without spaces get a word a character, as BERT's own tokenizer does it.
_UNSPACED = "\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff"
_WORD = re.compile(rf"(?:https?://|www\.)\S+|[^\W{_UNSPACED}]+|[{_UNSPACED}]")
_BORDER = 0  # stands around the words of each row


class NearTexts:
    """Groups of rows whose texts may be nearly the same, and their similarity.

    Args:
        rows: all rows.
        near: least Jaccard similarity, in (0, 1].
        seed: of the hash functions.

    Attributes:
        is_complete: whether every candidate was compared; not so where more than
            `MOST_COMPARED` pairs of texts were similar by chance or in truth.
    """

    def __init__(self, rows: Rows, near: float = NEAR, seed: int = 42) -> None:
        """Find the groups."""
        self._rows = rows
        self._near = near
        self._words = lru_cache(maxsize=_REMEMBERED)(self._read_words)
        self._pairs = lru_cache(maxsize=_REMEMBERED)(self._read_pairs)
        self._parents = np.arange(len(rows))
        self.is_complete = True
        self._group(seed)

    def similarity(self, one: int, other: int) -> float:
        """Compare two rows.

        Args:
            one: position of a row.
            other: of another.

        Returns:
            1 where their words are the same, else the Jaccard similarity of their
            pairs of words; 0 where a text is too short to tell.
        """
        if self._words(one) == self._words(other):
            return 1.0 if any(self._words(one)) else 0.0
        first, second = self._pairs(one), self._pairs(other)
        if min(len(first), len(second)) <= _LEAST_WORDS:
            return 0.0
        shared = len(first & second)
        return shared / (len(first) + len(second) - shared)

    def match(
        self, wanted: np.ndarray, among: np.ndarray
    ) -> Iterator[tuple[int, int, float]]:
        """Find for each row another that has nearly its text, but not exactly.

        Args:
            wanted: positions, rising.
            among: positions to search, rising; where they are `wanted` itself, only
                rows before a row are searched, and one of each text.

        Yields:
            Position, position of the other, similarity.
        """
        roots = _find_roots(self._parents)
        sizes = np.bincount(roots, minlength=len(roots))
        groups: dict[int, list[int]] = defaultdict(list)
        within = wanted is among
        if not within:
            for position in among[sizes[roots[among]] > 1].tolist():
                groups[roots[position]].append(position)
        seen: set[int] = set()
        for position in wanted[sizes[roots[wanted]] > 1].tolist():
            number = int(self._rows.numbers[position])
            if within and number in seen:
                continue
            seen.add(number)
            yield from self._match_one(position, groups[roots[position]])
            if within:
                groups[roots[position]].append(position)

    def _match_one(
        self, position: int, others: list[int]
    ) -> Iterator[tuple[int, int, float]]:
        numbers = self._rows.numbers
        for other in others[:_NEIGHBOURS]:
            if numbers[other] == numbers[position]:
                continue
            if (found := self.similarity(position, other)) >= self._near:
                yield position, other, found
                return

    # === Words ===

    def _read_words(self, position: int) -> tuple[str, ...]:
        texts = self._rows.texts_of(position)
        return tuple(word for text in texts for word in [*split_words(text), ""])[:-1]

    def _read_pairs(self, position: int) -> frozenset[tuple[str, str]]:
        words = ["", *(w for w in self._words(position) if not _is_address(w)), ""]
        return frozenset(itertools.pairwise(words))

    # === Groups ===

    def _group(self, seed: int) -> None:
        """Join rows whose texts are nearly the same, directly or through others."""
        keys, has_words, is_long = _hash_rows(self._rows, seed)
        differing: set[int] = set()
        for band in range(_BANDS + 1):
            eligible = np.flatnonzero(is_long if band else has_words)
            for first, second in _neighbours(keys[band][eligible]):
                self._join(eligible[first], eligible[second], differing)
                if len(differing) > MOST_COMPARED:
                    self.is_complete = False
                    return

    def _join(self, first: np.ndarray, second: np.ndarray, differing: set[int]) -> None:
        roots = _find_roots(self._parents)
        apart = roots[first] != roots[second]
        parents, size = self._parents, len(self._parents)
        for one, other in zip(
            first[apart].tolist(), second[apart].tolist(), strict=True
        ):
            code = min(one, other) * size + max(one, other)
            if code in differing:
                continue
            if self.similarity(one, other) < self._near:
                differing.add(code)
                continue
            low, high = sorted((_root(parents, one), _root(parents, other)))
            parents[high] = low


def split_words(text: str) -> list[str]:
    """Return a text's words in lower case, addresses (URLs) whole.

    Args:
        text: any text.

    Returns:
        Words without punctuation; each character of Chinese, Japanese and Thai.
    """
    return _WORD.findall(text.lower())


def _is_address(word: str) -> bool:
    return word.startswith(("http://", "https://", "www."))


def _root(parents: np.ndarray, position: int) -> int:
    while parents[position] != position:
        parents[position] = parents[parents[position]]
        position = int(parents[position])
    return position


def _find_roots(parents: np.ndarray) -> np.ndarray:
    """Return the root of every row."""
    roots = parents
    while True:
        above = roots[roots]
        if np.array_equal(above, roots):
            return above
        roots = above


def _neighbours(keys: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pair places of equal keys that are at most `_NEIGHBOURS` apart in their run."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    for distance in range(1, _NEIGHBOURS + 1):
        same = ordered[distance:] == ordered[:-distance]
        if not same.any():
            return
        yield order[:-distance][same], order[distance:][same]


# === Signatures ===


def _hash_rows(rows: Rows, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hash every row's words, in bounded memory.

    Returns:
        Keys, uint32 (1 + bands, n): of all words, then of each band; whether a row has
        words; whether it has enough for the bands.
    """
    factors, terms = _draw_functions(seed)
    vocabulary: dict[str, int] = defaultdict(itertools.count(_BORDER + 1).__next__)
    keys = np.zeros((_BANDS + 1, len(rows)), np.uint32)
    num_words, num_long = np.zeros((2, len(rows)), np.int64)
    for positions, columns in rows.chunks():
        words = _join_words([list(map(split_words, column)) for column in columns])
        content = [[w for w in row if not _is_address(w)] for row in words]
        all_ids, _ = _number(words, vocabulary)
        num_words[positions] = list(map(len, words))
        num_long[positions] = list(map(len, content))
        starts = np.cumsum([0, *(len(row) + 1 for row in words)])[:-1]
        order = np.arange(len(all_ids) - 1) - np.repeat(
            starts, [len(row) + 1 for row in words]
        )
        mixed = _mix(all_ids[1:] + order.astype(np.uint64) * np.uint64(0x9E3779B1))
        keys[0, positions] = np.add.reduceat(mixed, starts) >> np.uint64(32)
        ids, starts = _number(content, vocabulary)
        shingles = _mix(ids[:-1] * np.uint64(0x9E3779B97F4A7C15) + ids[1:])
        shingles = (shingles >> np.uint64(32)).astype(np.uint32)
        for band in range(_BANDS):
            keys[band + 1, positions] = _hash_band(
                shingles, starts, factors[band], terms[band]
            )
    return keys, num_words > 0, num_long >= _LEAST_WORDS


def _join_words(columns: Sequence[list[list[str]]]) -> list[list[str]]:
    """Put the words of a pair behind each other, a mark between them."""
    if len(columns) == 1:
        return columns[0]
    return [[*one, "", *other] for one, other in zip(*columns, strict=True)]


def _number(
    words: list[list[str]], vocabulary: dict[str, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids of all words with a border around each row, and row starts.

    Pairs of neighbours in the ids are the pairs of each row, borders included: a row
    of m words has m + 1 of them.
    """
    flat = itertools.chain.from_iterable([*row, None] for row in words)
    ids = [_BORDER if word is None else vocabulary[word] for word in flat]
    counts = [len(row) + 1 for row in words]
    starts = np.cumsum([0, *counts])[:-1]
    return np.array([_BORDER, *ids], np.uint64), starts


def _draw_functions(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw the bands' hash functions h -> factor * h + term modulo 2**32."""
    shape = (_BANDS, _VALUES)
    generator = np.random.default_rng(seed)
    factors = generator.integers(0, 2**32, shape, np.uint32) | np.uint32(1)
    return factors, generator.integers(0, 2**32, shape, np.uint32)


def _hash_band(
    shingles: np.ndarray, starts: np.ndarray, factors: np.ndarray, terms: np.ndarray
) -> np.ndarray:
    """Return a key of the least values of a band's functions, uint32 (rows,)."""
    key = np.zeros(len(starts), np.uint64)
    for factor, term in zip(factors, terms, strict=True):
        least = np.minimum.reduceat(shingles * factor + term, starts)
        key = _mix(key + least)
    return (key >> np.uint64(32)).astype(np.uint32)


def _mix(values: np.ndarray) -> np.ndarray:
    """Spread every bit over all 64.

    Source: the finalizer of splitmix64, Steele, Lea & Flood (2014).
    """
    values = values ^ (values >> np.uint64(30))
    values = values * np.uint64(0xBF58476D1CE4E5B9)
    values = values ^ (values >> np.uint64(27))
    values = values * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
