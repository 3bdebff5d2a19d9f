"""Rows of token ids before padding: flat arrays, cheap to slice, sort and join."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from kbert.long_texts import Windows
from kbert.ragged import offsets_of, ranges

INPUT_NAMES = ("token_ids", "segment_ids", "padding_mask")


@dataclass(frozen=True)
class Truncation:
    """What a maximum length cut off, and which lengths would have kept it.

    Lengths are in tokens, those around the texts included.

    Args:
        num_texts: rows, pairs counted once.
        num_truncated: rows that lost tokens.
        num_tokens_dropped: tokens lost in all rows.
        length: longest row that was kept.
        longest: longest row before truncation.
        covering: percent of the rows (95, 99, 100) to the smallest length that keeps
            so many of them whole.
    """

    num_texts: int
    num_truncated: int
    num_tokens_dropped: int
    length: int
    longest: int
    covering: dict[int, int]

    def summary(self) -> str:
        """Return all of it as one sentence."""
        if not self.num_texts:
            return "There was no text to cut."
        if not self.num_truncated:
            return (
                f"No text was cut: of {self.num_texts:,} the longest has "
                f"{self.longest:,} tokens; {self.covering[95]:,} cover 95 % "
                f"and {self.covering[99]:,} cover 99 %."
            )
        share = self.num_truncated / self.num_texts
        return (
            f"{self.num_truncated:,} of {self.num_texts:,} texts ({share:.1%}) were "
            f"cut to {self.length:,} tokens and lost {self.num_tokens_dropped:,} in "
            f"all; {self.covering[95]:,} tokens cover 95 % of the texts, "
            f"{self.covering[99]:,} cover 99 % and {self.covering[100]:,} all of them."
        )

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values; the keys of `covering` become strings."""
        covering = {str(share): length for share, length in self.covering.items()}
        return {**asdict(self), "covering": covering}


@dataclass(frozen=True, eq=False)
class Encoded:
    """Token ids of rows of different lengths, without padding.

    Args:
        ids: int32, shape (num_tokens,), row after row, tokens around texts included.
        offsets: int64, shape (num_rows + 1,); row i is `ids[offsets[i]:offsets[i+1]]`.
        second_starts: int32, shape (num_rows,), where in its row segment 1 begins; the
            row's length where there is none (no pair, or a format without segments).
        full_lengths: int32, shape (num_rows,), lengths before truncation.
        pad_id: token id that `pad` fills rows with.
        input_names: arrays that `pad` makes.
        windows: what `pad` cuts rows into, or `None` where it leaves them whole.
    """

    ids: np.ndarray
    offsets: np.ndarray
    second_starts: np.ndarray
    full_lengths: np.ndarray
    pad_id: int = 0
    input_names: tuple[str, ...] = INPUT_NAMES
    windows: Windows | None = None

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.offsets) - 1

    def __getitem__(self, indices: Any) -> "Encoded":
        """Return some rows, in the order asked for.

        Args:
            indices: a slice (a view where its step is 1), an array of integers or of
                booleans, or one integer for a single row.

        Returns:
            The rows.

        Raises:
            IndexError: a row is out of range.
        """
        if isinstance(indices, slice):
            first, last, step = indices.indices(len(self))
            if step == 1:
                return self._view(first, max(first, last))
        rows = self._rows(indices)
        starts = self.offsets[rows]
        lengths = self.offsets[rows + 1] - starts
        return self._with_rows(
            self.ids[ranges(starts, lengths)],
            offsets_of(lengths),
            self.second_starts[rows],
            self.full_lengths[rows],
        )

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row, int32, shape (num_rows,)."""
        return np.diff(self.offsets).astype(np.int32)

    @property
    def truncation(self) -> Truncation:
        """What the maximum length cut off."""
        lengths = self.lengths
        dropped = self.full_lengths.astype(np.int64) - lengths
        ordered = np.sort(self.full_lengths)
        return Truncation(
            num_texts=len(self),
            num_truncated=int(np.count_nonzero(dropped)),
            num_tokens_dropped=int(dropped.sum()),
            length=int(lengths.max(initial=0)),
            longest=int(ordered[-1]) if len(self) else 0,
            covering={share: _covering(ordered, share) for share in (95, 99, 100)},
        )

    def pad(self, length: int | None = None) -> dict[str, np.ndarray]:
        """Fill the rows, or the windows over them, up to one length.

        Args:
            length: columns, in tokens; `None` takes the longest row or window.

        Returns:
            For each of `input_names` an int32 array of shape (num_rows, length); in
            windows (num_rows, num_windows, length), where rows with fewer of them end
            in windows of padding.

        Raises:
            ValueError: a row is longer than `length`.
        """
        if self.windows is not None:
            return self._pad_windows(self.windows, length)
        lengths = self.lengths[:, None]
        longest = int(lengths.max(initial=0))
        length = longest if length is None else length
        if longest > length:
            raise ValueError(
                f"pad cannot shorten rows: length={length}, and row "
                f"{int(lengths.argmax())} has {longest} tokens. "
                "Encode with a smaller max_length."
            )
        columns = np.arange(length, dtype=np.int32)[None, :]
        mask = columns < lengths
        arrays = {}
        for name in self.input_names:
            if name == "token_ids":
                arrays[name] = np.full(mask.shape, self.pad_id, np.int32)
                arrays[name][mask] = self.ids
            elif name == "segment_ids":
                second = (columns >= self.second_starts[:, None]) & mask
                arrays[name] = second.astype(np.int32)
            else:
                arrays[name] = mask.astype(np.int32)
        return arrays

    def _pad_windows(
        self, windows: Windows, length: int | None
    ) -> dict[str, np.ndarray]:
        """Pad windows like rows of their own, and stack those of a row."""
        counts = windows.count(self.lengths)
        rows = self._cut(windows, counts).pad(length)
        used = np.arange(counts.max(initial=0)) < counts[:, None]
        arrays = {}
        for name, values in rows.items():
            empty = self.pad_id if name == "token_ids" else 0
            shape = (*used.shape, values.shape[1])
            arrays[name] = np.full(shape, empty, np.int32)
            arrays[name][used] = values
        return arrays

    def _cut(self, windows: Windows, counts: np.ndarray) -> "Encoded":
        """Return the windows as rows, each between the tokens around its text."""
        starts = np.repeat(self.offsets[:-1], counts)
        lengths = np.repeat(np.minimum(self.lengths, windows.length), counts)
        ids = self.ids[ranges(starts + windows.find_starts(self.lengths), lengths)]
        offsets = offsets_of(lengths)
        ids[offsets[:-1]] = self.ids[starts]
        ids[offsets[1:] - 1] = self.ids[np.repeat(self.offsets[1:], counts) - 1]
        rows = self._with_rows(ids, offsets, lengths, lengths)
        return replace(rows, windows=None)

    @classmethod
    def concatenate(cls, parts: Iterable["Encoded"]) -> "Encoded":
        """Join rows of several encodings, in order.

        Args:
            parts: at least one, all with the same `pad_id`, `input_names` and windows.

        Returns:
            All rows.

        Raises:
            ValueError: there is no part, or the parts differ in format.
        """
        parts = list(parts)
        formats = {(part.pad_id, part.input_names, part.windows) for part in parts}
        if len(formats) != 1:
            raise ValueError(
                "concatenate needs at least one part, and all from the same "
                f"preprocessor; received {len(parts)} parts in {len(formats)} formats."
            )
        if len(parts) == 1:
            return parts[0]
        return parts[0]._with_rows(
            np.concatenate([part.ids for part in parts]),
            offsets_of(np.concatenate([part.lengths for part in parts])),
            np.concatenate([part.second_starts for part in parts]),
            np.concatenate([part.full_lengths for part in parts]),
        )

    def _rows(self, indices: Any) -> np.ndarray:
        """Return row numbers without touching the other rows: a batch stays cheap."""
        rows = np.atleast_1d(np.asarray(indices))
        if rows.dtype.kind != "i":  # slices and booleans; NumPy refuses the rest
            return np.arange(len(self))[indices]
        rows = np.where(rows < 0, rows + len(self), rows)
        if rows.size and (rows.min() < 0 or rows.max() >= len(self)):
            raise IndexError(
                f"rows must lie in [0, {len(self)}); received {indices!r}."
            )
        return rows

    def _view(self, first: int, last: int) -> "Encoded":
        offsets = self.offsets[first : last + 1]
        return self._with_rows(
            self.ids[offsets[0] : offsets[-1]],
            offsets - offsets[0],
            self.second_starts[first:last],
            self.full_lengths[first:last],
        )

    def _with_rows(
        self,
        ids: np.ndarray,
        offsets: np.ndarray,
        second_starts: np.ndarray,
        full_lengths: np.ndarray,
    ) -> "Encoded":
        return replace(
            self,
            ids=ids,
            offsets=offsets,
            second_starts=second_starts,
            full_lengths=full_lengths,
        )


def _covering(ordered: np.ndarray, share: int) -> int:
    """Return the smallest length that `share` percent of the rows do not exceed."""
    if not len(ordered):
        return 0
    return int(ordered[-(-share * len(ordered) // 100) - 1])
