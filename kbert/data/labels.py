"""Give labels their ids, in an order that does not depend on the rows' order.

Whole numbers come by value (`1, 2, 10`; `1.0` is `1`), everything else alphabetically
by Unicode code point; names are kept as strings. White space around a label is no part
of it, and a label of nothing else is null.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa

_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]*)?")  # "007" is a name, not a number
_MOST_CLASSES = 1000  # more are believed only when most of them occur twice
_MANY_CLASSES = 500  # more are worth a sentence
_LISTED_UNKNOWN = 5  # labels shown with their rows in an error
_ANSWERS = frozenset("yes no y n true false t f".split())
_LISTED_NAMES = 20  # names shown in an error


@dataclass(frozen=True)
class Classes:
    """The classes of a data set.

    Args:
        names: class names, in id order.
        ids: label as it stands in the source (as a string) to its id.
    """

    names: tuple[str, ...]
    ids: dict[str, int]

    def encode(self, column: pa.Array, where: str) -> np.ndarray:
        """Encode a column of labels.

        Args:
            column: labels of any plain type, length n.
            where: the column in words, for messages.

        Returns:
            Ids, int32 (n,); -1 where the label is null.

        Raises:
            ValueError: a label is not among the classes.
        """
        codes, found = _read_labels(column, where)
        unknown = [
            code
            for code, name in enumerate(found)
            if name is not None and name not in self.ids
        ]
        if unknown:
            _refuse_unknown(codes, unknown, found, self.ids, where)
        ids = [-1 if name is None else self.ids[name] for name in found]
        return np.array([*ids, -1], np.int32)[codes]  # code -1, a null, is the last


def find_classes(
    column: pa.Array, label_names: Sequence[str] | None, where: str
) -> Classes:
    """Find the classes of a column of labels.

    Args:
        column: labels of any plain type.
        label_names: class names in id order; the labels are these names, or else ids
            in [0, len(label_names)). `None` takes the labels found.
        where: the column in words, for messages.

    Returns:
        The classes, in the documented order or that of `label_names`.

    Raises:
        ValueError: a column of numbers holds one that is not whole, the labels are
            mostly unique, or `label_names` has a name twice.
    """
    codes, found = _read_labels(column, where)
    known = {name for name in found if name is not None}
    if label_names is None:
        _check_one_kind(codes, found, where)
        if len(known) > max(_MOST_CLASSES, len(codes) // 2):
            raise ValueError(
                f"{where} has {len(known):,} different values in {len(codes):,} rows, "
                "so they are no classes; name another label column."
            )
        names = sort_names(known)
    else:
        names = tuple(map(str, label_names))
        _check_distinct(names)
    ids = {name: number for number, name in enumerate(names)}
    numbers = {str(number): number for number in range(len(names))}
    stand_for_ids = not known & set(names) and all(map(_is_number, known))
    return Classes(names, numbers if stand_for_ids else ids)


def sort_names(names: set[str]) -> tuple[str, ...]:
    """Sort class names: numbers by value, everything else alphabetically."""
    if all(_NUMBER.fullmatch(name) for name in names):
        return tuple(sorted(names, key=lambda name: (float(name), name)))
    return tuple(sorted(names))


def _read_labels(column: pa.Array, where: str) -> tuple[np.ndarray, list[str | None]]:
    """Return a code for each row, -1 for null, and the label of each code."""
    encoded = column.dictionary_encode()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    values = [_clean(value) for value in encoded.dictionary.to_pylist()]
    if not all(value is None or _is_number(value) for value in values):
        return codes, [None if value is None else str(value) for value in values]
    for code, value in enumerate(values):
        if value is not None and not float(value).is_integer():
            raise ValueError(
                f"labels must be classes, but {where} has {value} in row "
                f"{_find(codes, code):,}, which is no whole number; round or bin the "
                "labels, or name another label column."
            )
    return codes, [None if value is None else _whole(value) for value in values]


def _clean(value: Any) -> Any:
    """Strip white space; blank labels and NaN are null."""
    if isinstance(value, str):
        return value.strip() or None
    return None if value != value else value


def _is_number(value: Any) -> bool:
    if isinstance(value, str):
        return bool(_NUMBER.fullmatch(value))
    return isinstance(value, int | float) and not isinstance(value, bool)


def _whole(value: Any) -> str:
    """Write a whole number without a fraction: 2, 2.0, "2" and "2.0" are one class."""
    return str(int(value.partition(".")[0] if isinstance(value, str) else value))


def _refuse_unknown(
    codes: np.ndarray,
    unknown: list[int],
    found: list[str | None],
    known: dict[str, int],
    where: str,
) -> NoReturn:
    shown = []
    for code in unknown[:_LISTED_UNKNOWN]:
        count = int(np.count_nonzero(codes == code))
        more = f", {count:,} rows in all" if count > 1 else ""
        shown.append(f"{found[code]!r} in row {_find(codes, code):,}{more}")
    words = "the label " if len(unknown) == 1 else f"{len(unknown):,} labels, "
    end = ", ..." if len(unknown) > _LISTED_UNKNOWN else ""
    verb = "is" if len(unknown) == 1 else "are"
    raise ValueError(
        f"{where} has {words}{'; '.join(shown)}{end}, which {verb} not among the "
        f"classes {_list(known)}; correct the rows, or leave them out."
    )


def _check_one_kind(codes: np.ndarray, found: list[str | None], where: str) -> None:
    """Refuse labels that seem to be one class written in two ways.

    Numbers among words may be classes ("1", "2", "more"); a number written in two ways
    ("1", "1.0"), or with words that stand for one ("1", "yes"), is a mistake.
    """
    numbers = [c for c, name in enumerate(found) if name and _NUMBER.fullmatch(name)]
    words = [c for c, name in enumerate(found) if name and c not in set(numbers)]
    if not numbers or not words:
        return
    values: dict[float, int] = {}
    for code in numbers:
        twin = values.setdefault(float(str(found[code])), code)
        if twin != code:
            _refuse_mixture(codes, [twin, code, words[0]], found, where)
    answers = [code for code in words if str(found[code]).lower() in _ANSWERS]
    if answers and set(values) <= {0.0, 1.0}:
        _refuse_mixture(codes, [numbers[0], answers[0]], found, where)


def _refuse_mixture(
    codes: np.ndarray, mixed: list[int], found: list[str | None], where: str
) -> NoReturn:
    places = [f"{found[code]!r} in row {_find(codes, code):,}" for code in mixed]
    raise ValueError(
        f"{where} mixes kinds of labels: {', '.join(places)}; write each class in one "
        "way."
    )


def _check_distinct(names: tuple[str, ...]) -> None:
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"label_names must differ; {twice!r} is given twice.")


def _list(names: dict[str, int]) -> str:
    more = ", ..." if len(names) > _LISTED_NAMES else ""
    return ", ".join(map(repr, list(names)[:_LISTED_NAMES])) + more


def _find(codes: np.ndarray, code: int) -> int:
    return int(np.argmax(codes == code))


def note_classes(labels: np.ndarray, names: Sequence[str], where: str) -> list[str]:
    """Say what may be wrong with classes that can be read.

    Args:
        labels: int32 (n,), class ids; -1 where null.
        names: class names in id order.
        where: the column in words.

    Returns:
        A sentence for many classes, for classes of one row, and for names that differ
        in capitals or white space only.
    """
    counts = np.bincount(labels[labels >= 0], minlength=len(names))
    notes = []
    if len(names) > _MANY_CLASSES:
        rows = counts.sum() / len(names)
        notes.append(
            f"{where[0].upper()}{where[1:]} has {len(names):,} classes of {rows:.1f} "
            "rows each on average; merge rare ones if they need not be told apart."
        )
    rare = np.flatnonzero(counts == 1)
    if len(rare):
        row = int(np.argmax(labels == rare[0]))
        words = "1 class has" if len(rare) == 1 else f"{len(rare):,} classes have"
        notes.append(
            f"{words} one row only in {where} (such as {names[rare[0]]!r}, row "
            f"{row:,}); add rows, or merge classes."
        )
    return notes + _note_spellings(labels, names, where)


def _note_spellings(labels: np.ndarray, names: Sequence[str], where: str) -> list[str]:
    first: dict[str, int] = {}
    for number, name in enumerate(names):
        twin = first.setdefault(" ".join(name.lower().split()), number)
        if twin != number:
            places = [
                f"{names[one]!r} (row {int(np.argmax(labels == one)):,})"
                for one in (twin, number)
            ]
            return [
                f"The classes {' and '.join(places)} in {where} differ in capitals or "
                "white space only; write them in one way if they are one class."
            ]
    return []
