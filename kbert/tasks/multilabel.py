"""Any number of labels a text."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kbert import evaluation
from kbert.data.values import choose_separator
from kbert.tasks.judge import SeveralJudge
from kbert.tasks.table_task import TableTask

if TYPE_CHECKING:
    from kbert.models import Model

_THRESHOLDS = "thresholds"


class Multilabel(TableTask):
    """Give each text, or pair of texts, those of the labels that fit it."""

    name = "multilabel"
    words = "gives each text any number of labels"
    kind = "several"
    metric = "loss"
    mode = "min"
    headlines = ("f1_micro", "f1_macro", "ranking_precision", "subset_accuracy")
    readings = (*TableTask.readings, "separator")
    judge = SeveralJudge()

    def describe_head(
        self, label_names: Sequence[str], dropout: float
    ) -> dict[str, Any]:
        """Return a sigmoid for each label."""
        return {
            "label_names": label_names,
            "activation": "sigmoid",
            "dropout": dropout,
        }

    def compile(self, model, optimizer):
        """Compile with the binary cross-entropy of each label."""
        model.compile(optimizer, "binary_crossentropy", metrics=["binary_accuracy"])

    def measure(
        self,
        part: Any,
        predictions: Any,
        label_names: Sequence[str],
        thresholds: Sequence[float] | None = None,
    ) -> dict[str, Any]:
        """Return what `evaluation.compute_several_metrics` does."""
        return evaluation.compute_several_metrics(
            part.labels, predictions, label_names, thresholds=thresholds
        )

    def find_options(self, model: "Model") -> dict[str, Any]:
        """Return the thresholds."""
        return {"thresholds": model.metadata.get(_THRESHOLDS)}

    def decide(self, predictions, thresholds=None):
        """Return which labels each row has, bool (n, num_labels)."""
        if thresholds is None:
            thresholds = [evaluation.DEFAULT_THRESHOLD] * predictions.shape[1]
        return evaluation.decide(predictions, thresholds)

    def name_labels(self, part: Any, label_names: Sequence[str]) -> list[str]:
        """Return the labels of each row, parted as `tabulate` parts them."""
        return _join(part.labels > 0, label_names)

    def tabulate(
        self, model: "Model", inputs: Any, predictions: Any, thresholds: Any = None
    ) -> dict[str, list[Any]]:
        """Return `label`, names with `;` or another mark between, and each probability.

        See `kbert.data.values.choose_separator` for the mark.
        """
        names = model.label_names or ()
        chosen = self.decide(predictions, thresholds)
        columns: dict[str, list[Any]] = {"label": _join(chosen, names)}
        for label, name in enumerate(names):
            columns[f"probability_{name}"] = predictions[:, label].tolist()
        return columns


def _join(chosen: np.ndarray, names: Sequence[str]) -> list[str]:
    """Write the names of the labels that each row has, bool (n, num_labels)."""
    mark = choose_separator(names)
    rows = [np.flatnonzero(row).tolist() for row in chosen]
    return [mark.join(names[label] for label in row) for row in rows]


TASK = Multilabel()
