"""What is wrong with the classes: how many rows each has, and how they are written."""

import re
from collections import defaultdict

import numpy as np

from kbert.inspection.finding import Finding, describe
from kbert.inspection.rows import Rows

FEW_ROWS = 10
IMBALANCE = 10  # times the smallest class
_LEAST_ROWS = 20
_LISTED = 5
_NO_LETTERS = re.compile(r"[\W_]+")


def count_classes(rows: Rows) -> dict[str, dict[str, int]]:
    """Count the rows of each class in each labelled part.

    Args:
        rows: all rows.

    Returns:
        Part name to class name to rows.
    """
    counts = {}
    for part, split in rows.parts.items():
        if split.labels is not None:
            labels = split.labels[split.labels >= 0]
            numbers = np.bincount(labels, minlength=len(rows.label_names)).tolist()
            counts[part] = dict(zip(rows.label_names, numbers, strict=True))
    return counts


def find_class_faults(rows: Rows) -> list[Finding]:
    """Find single, unique, unseen, small, large and twice written classes.

    Args:
        rows: all rows.

    Returns:
        The findings; of labels that are no classes only whether they are unique.
    """
    counts = count_classes(rows)
    if "train" not in counts:
        return []
    if unique := _find_unique(rows, rows.positions("train")):
        return unique
    if not rows.has_classes:
        return []
    train = np.array(list(counts["train"].values()))
    own, rest = rows.positions("train"), np.arange(len(rows))
    rest = rest[~np.isin(rest, own) & (rows.labels >= 0)]
    present = train > 0
    return [
        *(_find_single(rows, own, present) if present.sum() == 1 else ()),
        *_find_unseen(rows, rest, present),
        *_find_spellings(rows),
        *(_find_small(rows, own, train) if present.sum() > 1 else ()),
        *(_find_large(rows, own, train) if present.sum() > 1 else ()),
    ]


def _name(rows: Rows, classes: np.ndarray, counts: np.ndarray | None = None) -> str:
    names = [
        f"{rows.label_names[c]!r}" + (f" ({counts[c]:,})" if counts is not None else "")
        for c in classes[:_LISTED].tolist()
    ]
    more = f" and {len(classes) - _LISTED:,} more" if len(classes) > _LISTED else ""
    return ", ".join(names) + more


def _find_single(rows: Rows, own: np.ndarray, present: np.ndarray) -> list[Finding]:
    found = own[rows.labels[own] >= 0]
    remark = f"It is {_name(rows, np.flatnonzero(present))}."
    return describe(rows, "one_class", found, among=len(own), remark=remark)


def _find_unique(rows: Rows, own: np.ndarray) -> list[Finding]:
    """Find labels that occur once where most do, unless they are scores."""
    own = own[rows.labels[own] >= 0]
    once = own[np.bincount(rows.labels[own])[rows.labels[own]] == 1]
    if len(own) < _LEAST_ROWS or 2 * len(once) <= len(own) or _are_scores(rows):
        return []
    return describe(rows, "unique_labels", once, among=len(own))


def _are_scores(rows: Rows) -> bool:
    try:
        return any(not float(name).is_integer() for name in rows.label_names)
    except ValueError:
        return False


def _find_unseen(rows: Rows, rest: np.ndarray, present: np.ndarray) -> list[Finding]:
    found = rest[~present[rows.labels[rest]]] if len(rest) else rest
    classes = np.unique(rows.labels[found])
    remark = f"These labels are {_name(rows, classes)}."
    return describe(rows, "unseen_classes", found, among=len(rest), remark=remark)


def _find_small(rows: Rows, own: np.ndarray, counts: np.ndarray) -> list[Finding]:
    classes = np.flatnonzero((counts > 0) & (counts < FEW_ROWS))
    found = own[np.isin(rows.labels[own], classes)]
    remark = (
        f"Of {np.count_nonzero(counts):,} classes {len(classes):,} have fewer than "
        f"{FEW_ROWS} training rows: {_name(rows, classes, counts)}."
    )
    return describe(rows, "few_rows", found, among=len(own), remark=remark)


def _find_large(rows: Rows, own: np.ndarray, counts: np.ndarray) -> list[Finding]:
    smallest, largest = counts[counts > 0].min(), counts.max()
    if largest < IMBALANCE * smallest:
        return []
    ends = np.array([counts.argmax(), np.where(counts > 0, counts, largest).argmin()])
    found = own[rows.labels[own] == ends[0]]
    remark = f"The largest and the smallest are {_name(rows, ends, counts)}."
    return describe(rows, "imbalance", found, among=len(own), remark=remark)


def _find_spellings(rows: Rows) -> list[Finding]:
    """Find the rows of every rarer spelling of a class."""
    spellings: dict[str, list[int]] = defaultdict(list)
    for label, name in enumerate(rows.label_names):
        if key := _NO_LETTERS.sub("", name.casefold()):
            spellings[key].append(label)
    totals = np.bincount(rows.labels + 1, minlength=len(rows.label_names) + 1)[1:]
    usual: dict[int, int] = {}
    for labels in spellings.values():
        best = max(labels, key=lambda label: totals[label])
        # "-1" and "1" are two numbers, not two spellings of one name.
        if not rows.label_names[best].lstrip("-").isdigit():
            usual |= {label: best for label in labels if label != best}
    found = np.flatnonzero(np.isin(rows.labels, list(usual)))
    details = [
        f"labelled {rows.label_of(p)!r}, elsewhere "
        f"{rows.label_names[usual[int(rows.labels[p])]]!r}"
        for p in found.tolist()
    ]
    return describe(rows, "label_spelling", found, details)
