"""One label a text, of two classes or more."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kbert import evaluation
from kbert.data import Split, Splits, load_split, load_splits
from kbert.long_texts import LONG_TEXTS
from kbert.tasks.columns import complete
from kbert.tasks.judge import LabelJudge
from kbert.tasks.task import Request, Task

if TYPE_CHECKING:
    from kbert.models import Model

_THRESHOLD = "threshold"


class Classify(Task):
    """Give each text, or pair of texts, one of the labels."""

    name = "classify"
    words = "gives each text one label"
    metric = "accuracy"
    mode = "max"
    headlines = ("accuracy", "f1", "f1_macro", "roc_auc", "log_loss")
    pictures = ("reliability", "precision_recall")
    balances = True
    has_columns = True
    judge = LabelJudge()
    long_texts = LONG_TEXTS

    def load(self, request: Request) -> Splits:
        """Read texts and labels, and split them by class."""
        request, _ = complete(request)
        return load_splits(
            request.source,
            text=request.text or "text",
            label=request.label_column,
            text_pair=request.text_pair,
            validation=request.validation,
            test=request.test,
            seed=request.seed,
            limit=request.limit,
            label_names=request.label_names,
            **request.reading,
        )

    def read(self, request: Request) -> Split:
        """Read one part, whatever classes it holds."""
        request, _ = complete(request)
        return load_split(
            request.source,
            text=request.text or "text",
            label=request.label_column,
            text_pair=request.text_pair,
            label_names=request.label_names,
            **request.reading,
        )

    def build(
        self,
        preset,
        label_names,
        *,
        dropout=0.1,
        max_length=None,
        precision="auto",
        **options,
    ):
        """Build a classifier with a linear head."""
        from kbert.models import build_classifier

        model = build_classifier(
            preset,
            label_names,
            dropout=dropout,
            max_length=max_length,
            precision=precision,
            **options,
        )
        model.task = self.name
        return model

    def compile(self, model, optimizer):
        """Compile with the cross-entropy of the labels."""
        loss = "sparse_categorical_crossentropy"
        model.compile(optimizer, loss, metrics=["accuracy"])

    def predict(
        self, model: "Model", inputs: Any, *, batch_size: int = 32
    ) -> np.ndarray:
        """Return class probabilities, float32 (n, num_classes)."""
        return model.predict(inputs, batch_size=batch_size)

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
        self, model: "Model", inputs: Any, predictions: Any
    ) -> dict[str, list[Any]]:
        """Return `label`, its `probability`, and `probability_<label>` for each."""
        names = model.label_names or ()
        chosen = evaluation.decide(predictions, model.metadata.get(_THRESHOLD))
        columns: dict[str, list[Any]] = {
            "label": [names[label] for label in chosen],
            "probability": predictions[np.arange(len(chosen)), chosen].tolist(),
        }
        for label, name in enumerate(names):
            columns[f"probability_{name}"] = predictions[:, label].tolist()
        return columns


TASK = Classify()
