"""Rows of one part of a data set."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from kbert.data.files import suggest
from kbert.data.sources import Source

if TYPE_CHECKING:
    import pandas as pd

_SHOWN_CLASSES = 20  # names shown when a split is printed


class Split:
    """Labelled (or unlabelled) texts, in Arrow memory that all slices share.

    A split is a list of row numbers into its source: slicing copies numbers, never
    texts, and Python strings are made only for the rows that are asked for.
    `load_split` makes one; nothing changes it afterwards.

    Args:
        source: the source, read.
        rows: int64 (n,), 0-based rows of the source, in the split's order.
        labels: int32 (n,), class ids in [0, len(label_names)); float32 (n,) scores or
            (n, num_labels) of 0 and 1; `None` if unlabelled.
        label_names: class names in id order; `()` if unlabelled.

    Example:
        >>> split = kbert.load_split((["good", "bad", "fine"], ["pos", "neg", "pos"]))
        >>> len(split), split.label_names, split.labels
        (3, ('neg', 'pos'), array([1, 0, 1], dtype=int32))
        >>> split[1:].texts
        ['bad', 'fine']
    """

    def __init__(
        self,
        source: Source,
        rows: np.ndarray,
        labels: np.ndarray | None = None,
        label_names: tuple[str, ...] = (),
    ) -> None:
        """Keep the rows; the arrays become read-only."""
        self._source = source
        self._rows = rows.astype(np.int64, copy=False).view()
        self._rows.flags.writeable = False
        self._labels = None
        if labels is not None:
            kind = np.float32 if labels.dtype.kind == "f" else np.int32
            self._labels = labels.astype(kind, copy=False).view()
            self._labels.flags.writeable = False
        self._label_names = tuple(label_names)

    @property
    def source(self) -> Source:
        """What the rows were read from."""
        return self._source

    @property
    def texts(self) -> list[str]:
        """The texts, made anew at each call; a null text is `""`."""
        return self._take(self._source.texts).fill_null("").to_pylist()

    @property
    def text_pairs(self) -> list[str] | None:
        """The second texts of sentence pairs, or `None`."""
        pairs = self._source.text_pairs
        return None if pairs is None else self._take(pairs).fill_null("").to_pylist()

    @property
    def labels(self) -> np.ndarray | None:
        """Class ids, int32 (n,), in [0, num_classes); `None` if unlabelled.

        Scores are float32 (n,); several labels a row float32 (n, num_classes), 1 or 0.
        """
        return self._labels

    @property
    def label_names(self) -> tuple[str, ...]:
        """Class names in id order; `()` if unlabelled."""
        return self._label_names

    @property
    def rows(self) -> np.ndarray:
        """0-based rows of the source, int64 (n,)."""
        return self._rows

    @property
    def notes(self) -> tuple[str, ...]:
        """What was guessed in reading the source, a sentence each."""
        return self._source.notes

    @property
    def num_classes(self) -> int:
        """Number of classes, those without a row here included; 0 if unlabelled."""
        return len(self._label_names)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._rows)

    def __iter__(self) -> Iterator["Split"]:
        """Iterate over splits of one row."""
        return (self[position] for position in range(len(self)))

    def __getitem__(self, index: int | slice | np.ndarray) -> "Split":
        """Select rows.

        Args:
            index: a position (giving a split of one row), a slice, or an array of
                positions or of `len(self)` booleans.

        Returns:
            The rows selected, in the order of `index`.

        Raises:
            IndexError: a position is out of range or the booleans are too few.
        """
        if isinstance(index, int | np.integer):
            if not -len(self) <= index < len(self):
                raise IndexError(f"row {index} is not among the {len(self):,} rows.")
            index = slice(index, index + 1 or None)
        elif not isinstance(index, slice):
            index = np.asarray(index)
            index = index.astype(np.int64) if not index.size else index
        labels = None if self._labels is None else self._labels[index]
        return Split(self._source, self._rows[index], labels, self._label_names)

    def column(self, name: str) -> list[Any]:
        """Return any column of the source as Python values.

        Args:
            name: name of the column in the source, such as `id`.

        Returns:
            A value for each row, `None` where it is null.

        Raises:
            ValueError: the source has no such column.
        """
        names = self._source.table.column_names
        if name not in names:
            raise ValueError(
                f"{self._source.name} has no column {name!r}{suggest(name, names)} "
                f"It has {', '.join(names)}."
            )
        return self._take(self._source.table.column(name).chunk(0)).to_pylist()

    def to_pandas(self) -> "pd.DataFrame":
        """Return a DataFrame.

        Returns:
            Columns `text`, `text_pair` (of pairs), `label` and `label_name` (if
            labelled), and `row`.
        """
        import pandas as pd

        columns: dict[str, Any] = {"text": self.texts}
        if self.text_pairs is not None:
            columns["text_pair"] = self.text_pairs
        if self._labels is not None:
            columns |= self._label_columns(self._labels)
        return pd.DataFrame({**columns, "row": self._rows})

    def _label_columns(self, labels: np.ndarray) -> dict[str, Any]:
        names = np.array(self._label_names, dtype=object)
        if labels.ndim == 2:
            return {str(name): labels[:, i] for i, name in enumerate(names)}
        if not len(names):
            return {"label": labels}
        return {"label": labels, "label_name": names[labels]}

    def __repr__(self) -> str:
        """Return the size, the classes and the source."""
        names, num_classes = self._label_names, self.num_classes
        classes = f", classes {names}" if names else ""
        if num_classes > _SHOWN_CLASSES:
            shown = ", ".join(map(repr, names[:_SHOWN_CLASSES]))
            classes = f", {num_classes:,} classes ({shown}, ...)"
        return f"Split({len(self):,} rows of {self._source.words}{classes})"

    def _take(self, column: pa.Array) -> pa.Array:
        return column.take(pa.array(self._rows))
