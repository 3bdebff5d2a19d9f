"""The rows of all parts of a data set, one part after the other."""

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kbert.data import Split
from kbert.data.findings import find_repeats, is_blank, is_null, number_texts
from kbert.data.sources import Source

# Python strings of so many rows, or of about so many bytes, are in memory at a time.
_CHUNK_ROWS = 1 << 15
_CHUNK_BYTES = 1 << 24


class Rows:
    """Rows at positions 0, 1, ... whatever part they are in.

    Args:
        parts: part name to its rows; train, validation and test in this order. A label
            of -1 is null.
        are_classes: whether the labels are classes, not scores.

    Attributes:
        parts: the same.
        starts: int64 (num_parts + 1,), position of each part's first row.
        numbers: int64 (n,), equal for equal texts, -1 for null and blank ones.
        labels: int64 (n,), class ids, -1 where there is none.
        label_names: class names in id order.
        has_classes: whether there are labels, and they are classes.
    """

    def __init__(self, parts: Mapping[str, Split], are_classes: bool = True) -> None:
        """Number the texts."""
        self.parts = dict(parts)
        self._splits = list(self.parts.values())
        self.starts = np.cumsum([0, *map(len, self._splits)])
        sources: dict[int, Source] = {id(s.source): s.source for s in self._splits}
        numbered = number_texts(list(sources.values()))
        numbers = dict(zip(sources, numbered, strict=True))
        self.numbers = np.concatenate(
            [numbers[id(s.source)][s.rows] for s in self._splits]
        )
        self.labels = np.concatenate([_labels_of(split) for split in self._splits])
        self.label_names = max((s.label_names for s in self._splits), key=len)
        self.has_classes = are_classes and bool(self.label_names)

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self.starts[-1])

    @property
    def num_columns(self) -> int:
        """1, or 2 for pairs of texts."""
        return len(_columns(self._splits[0]))

    def positions(self, part: str) -> np.ndarray:
        """Return the positions of a part's rows, int64."""
        place = list(self.parts).index(part)
        return np.arange(self.starts[place], self.starts[place + 1])

    def locate(self, position: int) -> tuple[str, int]:
        """Return the part of a row and its 0-based row in the part's source."""
        place = int(np.searchsorted(self.starts, position, side="right")) - 1
        row = self._splits[place].rows[position - self.starts[place]]
        return list(self.parts)[place], int(row)

    def by_part(self, positions: np.ndarray) -> dict[str, np.ndarray]:
        """Return source rows by part, in the order of the positions."""
        places = np.searchsorted(self.starts, positions, side="right") - 1
        found = {}
        for place, (name, split) in enumerate(self.parts.items()):
            own = positions[places == place] - self.starts[place]
            if len(own):
                found[name] = split.rows[own]
        return found

    def texts_of(self, position: int) -> tuple[str, ...]:
        """Return a row's text, and its second one; null texts are empty."""
        place = int(np.searchsorted(self.starts, position, side="right")) - 1
        split = self._splits[place]
        row = int(split.rows[position - self.starts[place]])
        return tuple(column[row].as_py() or "" for column in _columns(split))

    def label_of(self, position: int) -> str:
        """Return the name of a row's label."""
        label = self.labels[position]
        return self.label_names[label] if label >= 0 else "none"

    def chunks(
        self, positions: np.ndarray | None = None
    ) -> Iterator[tuple[np.ndarray, list[list[str]]]]:
        """Hand out the texts some thousand rows at a time; null texts are empty.

        Args:
            positions: rows wanted, in rising order; `None`: all.

        Yields:
            Positions, int64 (m,), and for each text column a list of m texts.
        """
        for place, split in enumerate(self._splits):
            first, last = self.starts[place], self.starts[place + 1]
            own = np.arange(first, last)
            if positions is not None:
                own = positions[(positions >= first) & (positions < last)]
            columns = _columns(split)
            size = _chunk_size(columns)
            for start in range(0, len(own), size):
                chosen = own[start : start + size]
                taken = pa.array(split.rows[chosen - first])
                yield chosen, [c.take(taken).fill_null("").to_pylist() for c in columns]

    def matching(self, pattern: str) -> np.ndarray:
        """Return the positions of rows with a text that an RE2 pattern matches."""
        found = []
        for place, split in enumerate(self._splits):
            mask = np.zeros(len(split.source), bool)
            for column in _columns(split):
                hits = pc.match_substring_regex(column, pattern).fill_null(False)
                mask |= hits.to_numpy(zero_copy_only=False)
            found.append(np.flatnonzero(mask[split.rows]) + self.starts[place])
        return np.concatenate(found)

    def first_of_each_text(self, positions: np.ndarray) -> list[int]:
        """Return the source row where each row's text and label first occur.

        Args:
            positions: of duplicates.

        Returns:
            A row of its part's source for each.
        """
        found = []
        for part in self.parts:
            own = self.positions(part)
            keys = self.numbers[own] * (len(self.label_names) + 1) + self.labels[own]
            _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
            wanted = positions[(positions >= own[0]) & (positions <= own[-1])] - own[0]
            found += self.parts[part].rows[first[inverse[wanted]]].tolist()
        return found

    def masks(self) -> dict[str, np.ndarray]:
        """Return bool (n,) for `nulls`, `blanks`, `duplicates` and `conflicts`.

        The last two are within each part.
        """
        found: dict[str, list[np.ndarray]] = {k: [] for k in _MASKS}
        for place, split in enumerate(self._splits):
            own = slice(self.starts[place], self.starts[place + 1])
            labelled = split.labels is not None
            labels = self.labels[own] if labelled else None
            nulls = labels < 0 if labels is not None else np.zeros(len(split), bool)
            blanks = np.zeros(len(split), bool)
            for column in _columns(split):
                nulls = nulls | is_null(column)[split.rows]
                blanks = blanks | is_blank(column)[split.rows]
            repeats = find_repeats(self.numbers[own], labels)
            for kind, mask in zip(_MASKS, (nulls, blanks, *repeats), strict=True):
                found[kind].append(mask)
        return {kind: np.concatenate(masks) for kind, masks in found.items()}

    def earlier_and_later(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the positions of train or validation, and of all parts after it."""
        for place in range(len(self._splits) - 1):
            yield (
                np.arange(self.starts[place], self.starts[place + 1]),
                np.arange(self.starts[place + 1], self.starts[-1]),
            )


_MASKS = ("nulls", "blanks", "duplicates", "conflicts")


def _columns(split: Split) -> list[pa.Array]:
    source = split.source
    return [c for c in (source.texts, source.text_pairs) if c is not None]


def _labels_of(split: Split) -> np.ndarray:
    if split.labels is None:
        return np.full(len(split), -1, np.int64)
    return split.labels.astype(np.int64)


def _chunk_size(columns: list[pa.Array]) -> int:
    num_bytes = sum(column.nbytes for column in columns)
    rows = max(1, len(columns[0]))
    return max(1, min(_CHUNK_ROWS, int(_CHUNK_BYTES * rows / max(1, num_bytes))))
