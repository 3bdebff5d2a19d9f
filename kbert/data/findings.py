"""Find the rows that spoil an experiment: nulls, blanks, duplicates, conflicts, leaks.

Texts are equal when every character is; of sentence pairs, both must be. Null and blank
texts are counted once, as such, and never as duplicates of each other.
"""

import hashlib
import itertools
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kbert.data.files import suggest
from kbert.data.sources import Source, string_bytes

NUM_EXAMPLES = 20
_EXAMPLE_CHARACTERS = 80
_HASHED_ROWS = 1 << 16  # rows whose offsets are Python numbers at one time
_ODD = 0x9E3779B97F4A7C15  # 2**64 divided by the golden ratio: mixes all bits
_SENTENCES = {
    "nulls": "with no text or no label",
    "blanks": "with a text of nothing but white space",
    "duplicates": "repeating the text and label of an earlier row",
    "conflicts": "with a text that occurs under two or more labels",
    "leaks": "with a text that a later split (validation, test) holds too",
}
KINDS = tuple(_SENTENCES)


def check_kinds(
    name: str, kinds: Collection[str], known: tuple[str, ...]
) -> tuple[str, ...]:
    """Refuse a kind that there is not.

    Args:
        name: of the argument.
        kinds: what was passed; one kind may be a plain string.
        known: those that there are.

    Returns:
        The kinds.

    Raises:
        ValueError: one is unknown; the nearest is named.
    """
    chosen = (kinds,) if isinstance(kinds, str) else tuple(kinds)
    for kind in chosen:
        if kind not in known:
            raise ValueError(
                f"{name} has no kind {kind!r}{suggest(str(kind), known)} Choose from "
                f"{', '.join(known)}."
            )
    return chosen


@dataclass(frozen=True)
class Example:
    """A row that was found.

    Args:
        source: name of the source, such as `train.csv`.
        row: 0-based row in that source.
        text: the beginning of its text.
    """

    source: str
    row: int
    text: str


@dataclass(frozen=True)
class Finding:
    """Rows of one kind.

    Args:
        count: number of rows found.
        dropped: number of them that were left out; 0 unless dropping was asked for.
        examples: the first 20 of them.
    """

    count: int = 0
    dropped: int = 0
    examples: tuple[Example, ...] = ()

    def __add__(self, other: "Finding") -> "Finding":
        """Return what both hold together."""
        return Finding(
            self.count + other.count,
            self.dropped + other.dropped,
            (*self.examples, *other.examples)[:NUM_EXAMPLES],
        )


@dataclass(frozen=True)
class Findings:
    """What is wrong with the rows, whether or not it was dropped.

    Args:
        nulls: rows without a text (an empty CSV cell is none) or without a label.
        blanks: rows whose text, or second text, is nothing but white space.
        duplicates: rows that repeat an earlier row's text and label in their source.
        conflicts: rows whose text has two or more labels in their source; all of them.
        leaks: rows of the train split whose text is in the validation or test split
            too, and of the validation split whose text is in the test split.
    """

    nulls: Finding = Finding()
    blanks: Finding = Finding()
    duplicates: Finding = Finding()
    conflicts: Finding = Finding()
    leaks: Finding = Finding()

    def __add__(self, other: "Findings") -> "Findings":
        """Return what both hold together."""
        return Findings(*(getattr(self, k) + getattr(other, k) for k in KINDS))

    def summary(self) -> list[str]:
        """Return a plain sentence for each kind that was found.

        Returns:
            Sentences such as `110 rows repeating the text and label of an earlier row
            (first: train.csv row 59); kept.`; empty when nothing was found.
        """
        return [
            _describe(getattr(self, kind), sentence)
            for kind, sentence in _SENTENCES.items()
            if getattr(self, kind).count
        ]

    def to_json(self) -> dict[str, Any]:
        """Return the findings as plain lists and dicts."""
        return asdict(self)


def _describe(finding: Finding, sentence: str) -> str:
    rows = "row" if finding.count == 1 else "rows"
    first = finding.examples[0]
    end = f"{finding.dropped:,} dropped" if finding.dropped else "kept"
    return (
        f"{finding.count:,} {rows} {sentence} "
        f"(first: {first.source} row {first.row:,}); {end}."
    )


def describe_rows(source: Source, rows: np.ndarray, *, dropped: bool) -> Finding:
    """Make a finding of the rows of a source.

    Args:
        source: the rows' source.
        rows: int64 (n,), positions in it.
        dropped: whether they are left out.

    Returns:
        Their count and first examples.
    """
    first = rows[:NUM_EXAMPLES]
    texts = source.texts.take(pa.array(first)).to_pylist()
    examples = tuple(
        Example(source.name, int(row), (text or "")[:_EXAMPLE_CHARACTERS])
        for row, text in zip(first, texts, strict=True)
    )
    return Finding(len(rows), len(rows) if dropped else 0, examples)


def number_texts(sources: Sequence[Source]) -> list[np.ndarray]:
    """Give equal texts the same number across sources.

    Args:
        sources: sources, all with or all without second texts.

    Returns:
        For each source an int64 array (rows,); -1 for null and blank texts.
    """
    texts = [_hash_texts(source) for source in sources]
    hashes = np.concatenate([hashed for hashed, _ in texts])
    numbers = np.unique(hashes, return_inverse=True)[1].astype(np.int64, copy=False)
    numbers[np.concatenate([blank for _, blank in texts])] = -1
    ends = np.cumsum([len(source) for source in sources])
    return np.split(numbers, ends[:-1])


def _hash_texts(source: Source) -> tuple[np.ndarray, np.ndarray]:
    """Return a 64-bit hash of each row's texts, and whether one is null or blank.

    Hashing takes 8 bytes a row where Arrow's dictionary would copy every text. Two
    of a million texts collide with a probability of 3e-8.
    """
    hashes = _hash(source.texts)
    blank = is_null(source.texts) | is_blank(source.texts)
    if source.text_pairs is not None:
        hashes = hashes * np.uint64(_ODD) + _hash(source.text_pairs)  # modulo 2**64
        blank |= is_null(source.text_pairs) | is_blank(source.text_pairs)
    return hashes, blank


def _hash(column: pa.Array) -> np.ndarray:
    offsets, data = string_bytes(column)
    digests = bytearray()
    for start in range(0, len(column), _HASHED_ROWS):
        ends = offsets[start : start + _HASHED_ROWS + 1].tolist()
        for first, last in itertools.pairwise(ends):
            digests += hashlib.blake2b(data[first:last], digest_size=8).digest()
    return np.frombuffer(digests, np.uint64)


def is_null(column: pa.Array) -> np.ndarray:
    """Whether each value is null."""
    return column.is_null().to_numpy(zero_copy_only=False)


def is_blank(column: pa.Array) -> np.ndarray:
    """Whether each text has no character but white space; null is not blank."""
    blank = pc.or_(
        pc.equal(pc.binary_length(column), 0), pc.utf8_is_space(column)
    ).fill_null(False)
    return blank.to_numpy(zero_copy_only=False)


def find_rows(
    source: Source, numbers: np.ndarray, labels: np.ndarray | None
) -> dict[str, np.ndarray]:
    """Find the rows that spoil one source.

    Args:
        source: the source, of n rows.
        numbers: int64 (n,), of `number_texts`.
        labels: int32 (n,), -1 for null; or `None`.

    Returns:
        For every kind but `leaks`, bool (n,): whether the row is one of them.
    """
    texts = [c for c in (source.texts, source.text_pairs) if c is not None]
    nulls = np.zeros(len(source), bool) if labels is None else labels < 0
    blanks = np.zeros(len(source), bool)
    for column in texts:
        nulls = nulls | is_null(column)
        blanks = blanks | is_blank(column)
    duplicates, conflicts = find_repeats(numbers, labels)
    return {
        "nulls": nulls,
        "blanks": blanks,
        "duplicates": duplicates,
        "conflicts": conflicts,
    }


def find_repeats(
    numbers: np.ndarray, labels: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Find rows that repeat a text and label, and rows whose text has two labels.

    Args:
        numbers: int64 (n,), equal for equal texts, -1 for null and blank ones.
        labels: int32 (n,), -1 for null; or `None`.

    Returns:
        Two bool arrays (n,): repeats of an earlier row, and conflicts, all of them.
    """
    rows = np.flatnonzero(numbers >= 0)
    if labels is not None:
        rows = rows[labels[rows] >= 0]
    texts = numbers[rows]
    classes = 0 if labels is None else labels[rows].astype(np.int64)
    num_classes = int(np.max(classes, initial=0)) + 1
    unique, first = np.unique(texts * num_classes + classes, return_index=True)
    duplicates = np.zeros(len(numbers), bool)
    duplicates[rows] = True
    duplicates[rows[first]] = False
    distinct, num_labels = np.unique(unique // num_classes, return_counts=True)
    conflicts = np.zeros(len(numbers), bool)
    conflicts[rows] = np.isin(texts, distinct[num_labels > 1])
    return duplicates, conflicts
