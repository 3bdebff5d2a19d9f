"""How far to trust the predictions of a task: slices, confusions, a baseline."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from kbert import evaluation

if TYPE_CHECKING:
    from kbert.models import Model


@dataclass(frozen=True)
class Puzzle:
    """A prediction whose words are worth a look.

    Args:
        position: of the row in its part, from 0.
        target: id of the output to explain.
        label_name: what would have been right.
    """

    position: int
    target: int
    label_name: str


class Judge(ABC):
    """Says how far to trust the predictions of one task.

    Parts and predictions are the task's own.

    Attributes:
        figure: what slices are compared by.
        has_probabilities: whether a temperature and thresholds can be fitted to them.
    """

    figure: ClassVar[str]
    has_probabilities: ClassVar[bool] = False

    def group(
        self, model: "Model", part: Any, columns: Sequence[str]
    ) -> dict[str, Sequence[Any]]:
        """Group the rows of a part, to measure each group.

        Args:
            model: whose tokenizer counts.
            part: of the splits.
            columns: whose values make groups, beside those of the task.

        Returns:
            By name, a group for each row: the length in tokens, unless the task says
            otherwise, and the columns.
        """
        assert model.preprocessor is not None
        encoded = model.preprocessor.encode(part.texts, part.text_pairs)
        groups: dict[str, Sequence[Any]]
        groups = {"length": evaluation.group_lengths(encoded.full_lengths)}
        for name in columns:
            groups[name] = evaluation.group_values(part.column(name))
        return groups

    @abstractmethod
    def slice(
        self,
        part: Any,
        predictions: Any,
        groups: Sequence[Any],
        thresholds: Any = None,
    ) -> list[dict[str, Any]]:
        """Measure each group of rows.

        Args:
            part: labelled rows.
            predictions: of them.
            groups: a group a row.
            thresholds: of the model; see `Task.find_options`.

        Returns:
            As `evaluation.slice_shares`, the worst first.
        """

    @abstractmethod
    def compare(
        self,
        splits: Any,
        predictions: Any,
        thresholds: Any = None,
        *,
        num_bootstrap: int,
        seed: int,
    ) -> dict[str, Any]:
        """Compare with a simple model, trained and measured on the same rows.

        Args:
            splits: what the model was trained on.
            predictions: of the part that `evaluation.find_measured_part` finds.
            thresholds: of the model.
            num_bootstrap: resamples of the rows.
            seed: of the resamples.

        Returns:
            As `evaluation.compare_with_baseline`.

        Raises:
            ValueError: there is no such model for these data.
        """

    def find_confusions(
        self,
        part: Any,
        predictions: Any,
        label_names: Sequence[str],
        thresholds: Any = None,
    ) -> list[dict[str, Any]]:
        """Find what is taken for what.

        Args:
            part: labelled rows.
            predictions: of them.
            label_names: in id order.
            thresholds: of the model.

        Returns:
            As `evaluation.find_confusions`; none unless the task has some.
        """
        return []

    def find_puzzles(
        self,
        part: Any,
        predictions: Any,
        label_names: Sequence[str],
        thresholds: Any = None,
    ) -> list[Puzzle]:
        """Find the predictions to explain, the worst first.

        Args:
            part: labelled rows.
            predictions: of them.
            label_names: in id order.
            thresholds: of the model.

        Returns:
            None unless `kbert.explain` can explain the task's models.
        """
        return []


class LabelJudge(Judge):
    """Of one class a row."""

    figure = "accuracy"
    has_probabilities = True

    def slice(self, part, predictions, groups, thresholds=None):
        """Measure the accuracy of each group; all labels of a row must be right."""
        return evaluation.slice_metrics(
            part.labels, predictions, groups, thresholds=thresholds
        )

    def compare(self, splits, predictions, thresholds=None, *, num_bootstrap, seed):
        """Compare with TF-IDF and logistic regression."""
        return evaluation.compare_with_baseline(
            splits,
            predictions,
            thresholds=thresholds,
            num_bootstrap=num_bootstrap,
            seed=seed,
        )

    def find_confusions(self, part, predictions, label_names, thresholds=None):
        """Find which classes are taken for which."""
        return evaluation.find_confusions(
            part.labels,
            predictions,
            part.texts,
            label_names,
            rows=part.rows,
            threshold=thresholds,
        )

    def find_puzzles(self, part, predictions, label_names, thresholds=None):
        """Find the mistakes that the model was surest of."""
        decided = evaluation.shift_to_half(predictions, thresholds)
        predicted, labels = decided.argmax(axis=1), np.asarray(part.labels)
        wrong = np.flatnonzero(predicted != labels)
        order = wrong[np.argsort(-decided[wrong].max(axis=1), kind="stable")]
        return [
            Puzzle(int(r), int(predicted[r]), label_names[labels[r]]) for r in order
        ]


class SeveralJudge(LabelJudge):
    """Of any number of labels a row."""

    def find_confusions(self, part, predictions, label_names, thresholds=None):
        """Find nothing: independent labels are not taken for one another."""
        return []

    def find_puzzles(self, part, predictions, label_names, thresholds=None):
        """Find the labels, wrongly given or not given, that the model was surest of."""
        decided = evaluation.shift_to_half(predictions, thresholds)
        labels = np.asarray(part.labels)
        is_wrong = (decided >= 0.5) != labels
        sureness = np.where(is_wrong, abs(decided - 0.5), -1)
        order = np.argsort(-sureness, axis=None, kind="stable")
        places = (divmod(int(one), labels.shape[1]) for one in order)
        return [
            Puzzle(row, k, f"{'' if labels[row, k] else 'not '}{label_names[k]}")
            for row, k in places
            if is_wrong[row, k]
        ]


class ScoreJudge(Judge):
    """Of a score a row."""

    figure = "mean_absolute_error"

    def slice(self, part, predictions, groups, thresholds=None):
        """Measure the mean absolute error of each group."""
        errors = np.abs(np.asarray(part.labels) - predictions)
        return evaluation.slice_errors(self.figure, errors, groups)

    def compare(self, splits, predictions, thresholds=None, *, num_bootstrap, seed):
        """Compare with TF-IDF and ridge regression."""
        return evaluation.compare_scores_with_baseline(
            splits, predictions, num_bootstrap=num_bootstrap, seed=seed
        )

    def find_puzzles(self, part, predictions, label_names, thresholds=None):
        """Find the largest errors."""
        errors = np.abs(np.asarray(part.labels) - predictions)
        order = np.argsort(-errors, kind="stable")
        return [Puzzle(int(row), 0, _write(part.labels[row])) for row in order]


def _write(score: float) -> str:
    return f"{score:,.3f}".replace("-", "\u2212")
