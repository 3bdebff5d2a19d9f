"""One label a text, of two classes or more."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kbert import evaluation
from kbert.tasks.judge import LabelJudge
from kbert.tasks.table_task import TableTask

if TYPE_CHECKING:
    from kbert.models import Model

_THRESHOLD = "threshold"


class Classify(TableTask):
    """Give each text, or pair of texts, one of the labels."""

    name = "classify"
    words = "gives each text one label"
    kind = "classes"
    metric = "accuracy"
    mode = "max"
    metric_is_share = True
    headlines = ("accuracy", "f1", "f1_macro", "roc_auc", "log_loss")
    pictures = ("reliability", "precision_recall")
    balances = True
    judge = LabelJudge()

    def describe_head(
        self, label_names: Sequence[str], dropout: float
    ) -> dict[str, Any]:
        """Return a softmax over the classes; windows of a text pool its logits."""
        return {"label_names": label_names, "dropout": dropout}

    def compile(self, model, optimizer):
        """Compile with the cross-entropy of the labels."""
        loss = "sparse_categorical_crossentropy"
        model.compile(optimizer, loss, metrics=["accuracy"])

    def measure(
        self,
        part: Any,
        predictions: Any,
        label_names: Sequence[str],
        thresholds: float | None = None,
    ) -> dict[str, Any]:
        """Return what `evaluation.compute_metrics` does."""
        return evaluation.compute_metrics(
            part.labels, predictions, label_names, threshold=thresholds
        )

    def find_options(self, model: "Model") -> dict[str, Any]:
        """Return the threshold of the second of two classes, where one was chosen."""
        return {"thresholds": model.metadata.get(_THRESHOLD)}

    def decide(self, predictions, thresholds=None):
        """Return the class of each row, int64 (n,)."""
        return evaluation.decide(predictions, thresholds)

    def find_mistakes(self, part, predictions, label_names, thresholds=None):
        """Return the mistakes that the model was surest of."""
        return evaluation.find_mistakes(
            part.labels,
            predictions,
            part.texts,
            label_names,
            text_pairs=part.text_pairs,
            rows=part.rows,
            threshold=thresholds,
        )

    def tabulate(
        self, model: "Model", inputs: Any, predictions: Any, thresholds: Any = None
    ) -> dict[str, list[Any]]:
        """Return `label`, its `probability`, and `probability_<label>` for each."""
        names = model.label_names or ()
        chosen = self.decide(predictions, thresholds)
        columns: dict[str, list[Any]] = {
            "label": [names[label] for label in chosen],
            "probability": predictions[np.arange(len(chosen)), chosen].tolist(),
        }
        for label, name in enumerate(names):
            columns[f"probability_{name}"] = predictions[:, label].tolist()
        return columns


TASK = Classify()
