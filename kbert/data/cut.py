"""Choose rows at random: by share, by class, up to a limit."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np


def split_sizes(
    num_rows: int, validation: Fraction, test: Fraction
) -> tuple[int, int, int]:
    """Round shares to row counts, as two calls of `train_test_split` do.

    Args:
        num_rows: rows to split.
        validation: share of the validation part, 0 for none.
        test: share of the test part, 0 for none.

    Returns:
        Rows of train (rounded down), validation, and test (its share of what train
        leaves, rounded up).

    Raises:
        ValueError: a part that is asked for would be empty.
    """
    num_train = int((1 - validation - test) * num_rows)
    rest = num_rows - num_train
    num_test = -int(-rest * test // (validation + test)) if test else 0
    sizes = num_train, rest - num_test, num_test
    for share, size, name in (
        (1 - validation - test, num_train, "train"),
        (validation, rest - num_test, "validation"),
        (test, num_test, "test"),
    ):
        if share and size < 1:
            raise ValueError(
                f"a share of {float(share):g} of {num_rows:,} rows leaves none for "
                f"{name}; use more rows or another share."
            )
    return sizes


def cut_rows(
    rows: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
    shares: dict[str, Fraction],
    *,
    seed: int,
    stratify: bool,
) -> dict[str, np.ndarray]:
    """Cut rows into train and the parts that `shares` names.

    Args:
        rows: int64 (n,), rows to cut.
        labels: int32 (n,), their class ids.
        names: class names in id order, for messages.
        shares: shares of `validation` and `test`, or of one of them.
        seed: of both cuts.
        stratify: whether each part gets each class in the same proportion.

    Returns:
        Part name to its rows, shuffled.

    Raises:
        ValueError: the rows, or those of a class, are too few.
    """
    validation, test = (
        shares.get(part, Fraction(0)) for part in ("validation", "test")
    )
    _, num_validation, num_test = split_sizes(len(rows), validation, test)

    def halve(places: np.ndarray, size: int, parts: str) -> list[np.ndarray]:
        from sklearn.model_selection import train_test_split

        strata = labels[places] if stratify else None
        if strata is not None:
            _check_strata(strata, size, names, parts)
        return train_test_split(
            places, test_size=size, random_state=seed, stratify=strata
        )

    parts = [part for part in ("validation", "test") if part in shares]
    num_rest = num_validation + num_test
    train, rest = halve(np.arange(len(rows)), num_rest, f"train and {parts[0]}")
    cut = {"train": train, parts[0]: rest}
    if len(parts) == 2:
        cut["validation"], cut["test"] = halve(rest, num_test, "validation and test")
    return {part: rows[places] for part, places in cut.items()}


def _check_strata(
    labels: np.ndarray, size: int, names: Sequence[str], parts: str
) -> None:
    """Refuse what scikit-learn would, in words."""
    classes, counts = np.unique(labels, return_counts=True)
    if counts.min() < 2:
        name = names[classes[counts.argmin()]]
        raise ValueError(
            f"class {name!r} has 1 row for {parts} together, so it cannot be in both; "
            "add rows, merge classes, or pass stratify=False (--no-stratify)."
        )
    smaller = min(size, len(labels) - size)
    if smaller < len(classes):
        raise ValueError(
            f"{parts} cannot both have all {len(classes)} classes: one would get "
            f"{smaller} of {len(labels):,} rows; use more rows, another share, or "
            "stratify=False (--no-stratify)."
        )


def sample_rows(
    labels: np.ndarray | None, num_rows: int, size: int, seed: int
) -> np.ndarray:
    """Choose at most `size` rows at random, every class in its proportion.

    Each class is spread evenly over [0, 1) in random order and the lowest rows are
    taken, so that no class is left out while `size` is at least their number.

    Args:
        labels: int32 (num_rows,), class ids; `None` takes no notice of classes.
        num_rows: rows to choose from.
        size: most rows to choose.
        seed: of the choice.

    Returns:
        Positions in [0, num_rows), int64, ascending.
    """
    if size >= num_rows:
        return np.arange(num_rows)
    order = np.random.default_rng(seed).permutation(num_rows)
    if labels is None:
        return np.sort(order[:size])
    order = order[np.argsort(labels[order], kind="stable")]  # by class, random within
    counts = np.bincount(labels)
    starts = np.cumsum(counts) - counts
    shuffled = labels[order]
    rank = (np.arange(num_rows) - starts[shuffled]) / counts[shuffled]
    return np.sort(order[np.argsort(rank, kind="stable")[:size]])
