"""What rounding to 8 bits changes in predictions, in a line."""

import logging
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any

import numpy as np
from keras import tree

from kbert.loaders import is_loader
from kbert.rows import read_rows

# Texts that are predicted exactly as well.
_COMPARED_ROWS = 256
_NOT_COMPARED = (
    "what rounding to int8 changes is not measured on what comes in batches; "
    "evaluate(..., quantize='int8') does so where there are labels"
)

_logger = logging.getLogger("kbert")


def look_ahead(x: Any, takes_texts: bool) -> tuple[Any, Any]:
    """Take the first rows of what is predicted.

    Args:
        x: what `Model.predict` takes.
        takes_texts: whether an iterator holds texts, one at a time.

    Returns:
        The first rows, or `None` where they cannot be told; and all rows.
    """
    if isinstance(x, Iterator) and takes_texts:
        first = list(islice(x, _COMPARED_ROWS))
        return first, chain(first, x)
    if isinstance(x, dict):
        return {name: array[:_COMPARED_ROWS] for name, array in x.items()}, x
    is_batched = isinstance(x, Iterator) or is_loader(x)
    rows = None if is_batched else read_rows(x, columns="tuple")
    if rows is None:
        return None, x
    return rows.without_labels().take(slice(_COMPARED_ROWS)), x


def say_difference(rounded: Any, exact: Any, names: Sequence[str]) -> None:
    """Log what rounding changes, a line an output.

    Args:
        rounded: outputs of all rows.
        exact: of the first rows, exactly; `None`: unknown.
        names: of the outputs.
    """
    if exact is None:
        _logger.warning(_NOT_COMPARED)
        return
    pairs = zip(names, tree.flatten(rounded), tree.flatten(exact), strict=True)
    for name, one, other in pairs:
        where = f"{name}: " if len(names) > 1 else ""
        _logger.warning("%s%s", where, show_difference(one[: len(other)], other))


def show_difference(rounded: np.ndarray, exact: np.ndarray) -> str:
    """Write in a line what rounding changes.

    Args:
        rounded: probabilities (n, num_classes), or (n, 1) of two classes.
        exact: the same texts', exactly.
    """
    same = float(np.mean(_label_rows(rounded) == _label_rows(exact)))
    return (
        f"in int8, {100 * same:.1f} % of the first {len(exact)} texts get the label "
        "they get exactly; probabilities differ by at most "
        f"{np.abs(rounded - exact).max():.3f}"
    )


def _label_rows(outputs: np.ndarray) -> np.ndarray:
    return outputs.argmax(-1) if outputs.shape[-1] > 1 else outputs[..., 0] > 0.5


def show_results(results: Any) -> str:
    """Write what `evaluate` returns in a line.

    Args:
        results: a number, a list of them, or a dict.
    """
    if isinstance(results, dict):
        return ", ".join(f"{name} {value:.4f}" for name, value in results.items())
    return ", ".join(f"{value:.4f}" for value in np.atleast_1d(results))
