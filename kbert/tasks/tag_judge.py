"""How far to trust a tagger."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from kbert import evaluation
from kbert.evaluation.entities import count_entities
from kbert.evaluation.entity_confusions import find_entity_confusions
from kbert.evaluation.tag_baseline import (
    compare_tags_with_baseline,
    predict_frequent_tags,
)
from kbert.tasks.judge import Judge

if TYPE_CHECKING:
    from kbert.tasks.tag import TaggedText
    from kbert.tasks.tag_data import Sentences


class TagJudge(Judge):
    """Of a tag a word."""

    figure = "f1"

    def group(self, model, part, columns):
        """Group sentences by their number of words."""
        lengths = np.diff(part.offsets)
        return {"length": evaluation.group_lengths(lengths, unit="words")}

    def slice(self, part, predictions, groups, thresholds=None):
        """Measure the F1 of the entities of each group."""
        labels, found = np.concatenate(part.labels), _join(predictions)
        counts = count_entities(labels, found, part.offsets, part.label_names)
        right, predicted, true = counts[:3]
        return evaluation.slice_shares(
            self.figure, right, groups, cases=(predicted + true) / 2
        )

    def compare(self, splits, predictions, thresholds=None, *, num_bootstrap, seed):
        """Compare with each word's most frequent tag."""
        name, part = evaluation.find_measured_part(splits)
        frequent = predict_frequent_tags(
            _list_words(splits.train),
            np.concatenate(splits.train.labels),
            _list_words(part),
            part.label_names,
        )
        return compare_tags_with_baseline(
            np.concatenate(part.labels),
            _join(predictions),
            frequent,
            part.offsets,
            part.label_names,
            split=name,
            num_bootstrap=num_bootstrap,
            seed=seed,
        )

    def find_confusions(self, part, predictions, label_names, thresholds=None):
        """Find which types of entities are taken for which, and which are missed."""
        return find_entity_confusions(
            np.concatenate(part.labels),
            _join(predictions),
            part.offsets,
            part.label_names,
            _list_words(part),
            probabilities=np.concatenate([one.probabilities for one in predictions]),
            rows=part.rows,
        )


def _join(predictions: Sequence["TaggedText"]) -> np.ndarray:
    return np.concatenate([one.labels for one in predictions])


def _list_words(part: "Sentences") -> list[str]:
    return [word for words in part.words for word in words]
