"""Any number of labels a text."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kbert import evaluation
from kbert.data import Split, Splits, load_split, load_splits
from kbert.tasks.columns import complete
from kbert.tasks.judge import SeveralJudge
from kbert.tasks.task import Request, Task

if TYPE_CHECKING:
    from kbert.models import Model

_THRESHOLDS = "thresholds"
_MARK = ";"  # between the labels of a row, in what is written


class Multilabel(Task):
    """Give each text, or pair of texts, those of the labels that fit it."""

    name = "multilabel"
    words = "gives each text any number of labels"
    metric = "loss"
    mode = "min"
    headlines = ("f1_micro", "f1_macro", "ranking_precision", "subset_accuracy")
    has_columns = True
    long_texts = ("truncate", "head-tail")
    judge = SeveralJudge()

    def load(self, request: Request) -> Splits:
        """Read texts and their labels, and split them at random."""
        request, _ = complete(request)
        return load_splits(
            request.source,
            text=request.text or "text",
            label=request.label or "label",
            text_pair=request.text_pair,
            validation=request.validation,
            test=request.test,
            seed=request.seed,
            limit=request.limit,
            label_names=request.label_names,
            kind="several",
            **request.reading,
        )

    def read(self, request: Request) -> Split:
        """Read one part."""
        request, _ = complete(request)
        return load_split(
            request.source,
            text=request.text or "text",
            label=request.label,
            text_pair=request.text_pair,
            label_names=request.label_names,
            kind="several",
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
        """Build a model that ends in a sigmoid for each label."""
        from kbert.models import build_classifier
        from kbert.tasks.heads import build_head

        model = build_classifier(
            preset,
            label_names,
            head=build_head(len(label_names), "sigmoid", dropout, "probabilities"),
            max_length=max_length,
            precision=precision,
            **options,
        )
        model.task = self.name
        return model

    def compile(self, model, optimizer):
        """Compile with the binary cross-entropy of each label."""
        model.compile(optimizer, "binary_crossentropy", metrics=["binary_accuracy"])

    def finish(self, model: "Model", validation: Any) -> None:
        """Choose a threshold for each label, by its F1 on the validation rows."""
        if validation is not None:
            probabilities = self.predict(model, validation)
            thresholds = evaluation.choose_thresholds(validation.labels, probabilities)
            model.metadata[_THRESHOLDS] = thresholds

    def predict(
        self, model: "Model", inputs: Any, *, batch_size: int = 32
    ) -> np.ndarray:
        """Return the probability of each label, float32 (n, num_labels)."""
        return model.predict(inputs, batch_size=batch_size)

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

    def name_labels(self, part: Any, label_names: Sequence[str]) -> list[str]:
        """Return the labels of each row with a semicolon between them."""
        return [_join(row > 0, label_names) for row in part.labels]

    def tabulate(
        self, model: "Model", inputs: Any, predictions: Any
    ) -> dict[str, list[Any]]:
        """Return `label`, names with a semicolon between, and each probability."""
        names = model.label_names or ()
        thresholds = model.metadata.get(_THRESHOLDS, evaluation.DEFAULT_THRESHOLD)
        chosen = predictions >= np.asarray(thresholds, np.float32)
        columns: dict[str, list[Any]] = {"label": [_join(row, names) for row in chosen]}
        for label, name in enumerate(names):
            columns[f"probability_{name}"] = predictions[:, label].tolist()
        return columns


def _join(chosen: np.ndarray, names: Sequence[str]) -> str:
    return _MARK.join(names[label] for label in np.flatnonzero(chosen).tolist())


TASK = Multilabel()
