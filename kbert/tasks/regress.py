"""A score a text."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kbert import evaluation
from kbert.tasks.judge import ScoreJudge
from kbert.tasks.table_task import TableTask

if TYPE_CHECKING:
    from kbert.models import Model

# Only while a model trains: `finish` folds both into its last layer.
_MEAN, _DEVIATION = "score_mean", "score_deviation"


class Regress(TableTask):
    """Give each text, or pair of texts, a number.

    AdamW moves every weight by about the learning rate, whatever the unit of the
    labels, so a head could not follow labels of thousands. It trains on labels of mean
    0 and deviation 1; then its last layer is scaled to the labels' own unit.
    """

    name = "regress"
    words = "gives each text a score"
    kind = "scores"
    metric = "loss"
    mode = "min"
    headlines = ("pearson", "spearman", "mean_squared_error", "mean_absolute_error")
    pictures = ("scores",)
    judge = ScoreJudge()

    def describe_head(
        self, label_names: Sequence[str], dropout: float
    ) -> dict[str, Any]:
        """Return one number, which nothing bounds."""
        return {"num_classes": 1, "activation": "linear", "dropout": dropout}

    def compile(self, model, optimizer):
        """Compile with the squared error, in deviations of the training scores.

        An epoch has no other figure: it would not be in the unit of the labels.
        """
        model.compile(optimizer, "mean_squared_error")

    def prepare(self, model: "Model", train: Any) -> None:
        """Note the mean and the deviation of the training scores."""
        scores = np.asarray(train.labels, np.float64)
        model.metadata[_MEAN] = float(scores.mean())
        model.metadata[_DEVIATION] = float(scores.std()) or 1.0

    def feed(self, model: "Model", part: Any, batch_size: int, seed: int | None) -> Any:
        """Return the rows with scores of mean 0 and deviation 1."""
        from kbert.rows import TextRows

        scores = np.asarray(part.labels, np.float64) - model.metadata[_MEAN]
        scores = (scores / model.metadata[_DEVIATION]).astype(np.float32)
        return TextRows(part, scores)

    def finish(self, model: "Model") -> None:
        """Scale the last layer to the unit of the labels."""
        head = model.get_layer("score")
        deviation = model.metadata.pop(_DEVIATION)
        kernel, bias = (np.array(weight) for weight in head.get_weights())
        mean = model.metadata.pop(_MEAN)
        head.set_weights([kernel * deviation, bias * deviation + mean])

    def predict(
        self, model: "Model", inputs: Any, *, batch_size: int = 32
    ) -> np.ndarray:
        """Return scores in the unit of the labels, float32 (n,)."""
        return super().predict(model, inputs, batch_size=batch_size)[:, 0]

    def measure(
        self, part: Any, predictions: Any, label_names: Sequence[str] = ()
    ) -> dict[str, Any]:
        """Return what `evaluation.compute_score_metrics` does."""
        return evaluation.compute_score_metrics(part.labels, predictions)

    def find_mistakes(self, part, predictions, label_names=(), thresholds=None):
        """Return the rows with the largest errors."""
        return evaluation.find_largest_errors(
            part.labels,
            predictions,
            part.texts,
            text_pairs=part.text_pairs,
            rows=part.rows,
        )

    def name_labels(self, part: Any, label_names: Sequence[str]) -> list[float]:
        """Return the scores."""
        return part.labels.tolist()

    def tabulate(
        self, model: "Model", inputs: Any, predictions: Any, thresholds: Any = None
    ) -> dict[str, list[Any]]:
        """Return the scores as `label`."""
        return {"label": predictions.tolist()}


TASK = Regress()
