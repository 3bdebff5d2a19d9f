"""What is wrong with labels of which a row may have several."""

from collections.abc import Mapping

import numpy as np

from kbert.data import Split
from kbert.inspection.classes import FEW_ROWS
from kbert.inspection.finding import Finding, describe
from kbert.inspection.rows import Rows

_LISTED = 5


def count_labels(parts: Mapping[str, Split]) -> dict[str, dict[str, int]]:
    """Count the rows of each label in each labelled part."""
    return {
        name: dict(
            zip(part.label_names, part.labels.sum(0).astype(int).tolist(), strict=True)
        )
        for name, part in parts.items()
        if part.labels is not None
    }


def find_several_faults(parts: Mapping[str, Split], rows: Rows) -> list[Finding]:
    """Find constant, rare and unseen labels, and rows without any.

    Args:
        parts: with labels float32 (n, num_labels), or without.
        rows: the same, as texts.

    Returns:
        The findings.
    """
    names = np.array(parts["train"].label_names, object)
    train, own = parts["train"].labels, rows.positions("train")
    assert train is not None
    has_label = {
        name: part.labels > 0 for name, part in parts.items() if part.labels is not None
    }
    counts = has_label["train"].sum(0)
    few = (counts > 0) & (counts < FEW_ROWS)
    constant = (counts == 0) | (counts == len(own))
    without, unseen = [], []
    for name, table in has_label.items():
        positions = rows.positions(name)
        without.append(positions[~table.any(1)])
        if name != "train":
            unseen.append(positions[table[:, counts == 0].any(1)])
    rare = own[has_label["train"][:, few].any(1)]
    return [
        *describe(
            rows,
            "unseen_classes",
            np.concatenate([*unseen, own[:0]]),
            among=len(rows) - len(own),
            remark=f"These labels are {_name(names, counts == 0)}.",
        ),
        *describe(
            rows,
            "constant_labels",
            own if constant.any() else own[:0],
            among=len(own),
            remark=f"They are {_name(names, constant, counts)}.",
        ),
        *describe(
            rows,
            "few_rows",
            rare,
            among=len(own),
            remark=f"Fewer than {FEW_ROWS} rows have {_name(names, few, counts)}.",
        ),
        *describe(rows, "no_labels", np.concatenate(without)),
    ]


def _name(names: np.ndarray, mask: np.ndarray, counts: np.ndarray | None = None) -> str:
    chosen = np.flatnonzero(mask)
    shown = [
        f"{names[label]!r}" + ("" if counts is None else f" ({counts[label]:,})")
        for label in chosen[:_LISTED].tolist()
    ]
    more = f" and {len(chosen) - _LISTED:,} more" if len(chosen) > _LISTED else ""
    return ", ".join(shown) + more
