"""What heads on every token are made of, and the metrics of their logs.

The tasks `tag` and `answer` use them; they are here to be known when a saved model is
loaded.
"""

import keras
import numpy as np
import torch
from keras import ops

_NEVER = -1e9


# === Answers ===


@keras.saving.register_keras_serializable(package="kbert")
class SpanScores(keras.layers.Layer):
    """Scores of tokens to be first and last, as rows over the tokens of a window."""

    def call(self, scores, padding_mask):
        """Turn (batch, length, 2) to (batch, 2, length), padding out of the running."""
        scores = ops.transpose(scores, (0, 2, 1))
        is_token = ops.expand_dims(ops.cast(padding_mask, "bool"), 1)
        return ops.where(is_token, scores, _NEVER)

    def compute_output_shape(self, scores_shape, padding_mask_shape):
        """Return (batch, 2, length)."""
        return (scores_shape[0], 2, scores_shape[1])


@keras.saving.register_keras_serializable(package="kbert")
class SpanAccuracy(keras.metrics.MeanMetricWrapper):
    """Share of the windows whose first and last token are both right.

    Args:
        name: of the metric.
        dtype: of its sums.
    """

    def __init__(self, name="span_accuracy", dtype=None):
        super().__init__(_match_spans, name=name, dtype=dtype)

    def get_config(self):
        """Return the constructor's arguments."""
        return {"name": self.name, "dtype": self.dtype}


def _match_spans(y_true, y_pred):
    found = ops.argmax(y_pred, axis=-1)
    return ops.all(ops.equal(ops.cast(y_true, found.dtype), found), axis=-1)


# === Tags ===


@keras.saving.register_keras_serializable(package="kbert")
class EntityF1(keras.metrics.Metric):
    """F1 of whole entities, over all batches.

    Weights say which tokens are the first of a word: tags of others do not count.

    Args:
        type_ids: type of each tag, as `kbert.evaluation.entities.TagRules` has it.
        starts: whether an entity starts at a tag, by the tag before and the tag.
        ends: whether one ends at a tag, by the tag and the one behind.
        name: of the metric.
        dtype: of its sums.
    """

    def __init__(self, type_ids, starts, ends, name="f1", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self._rules = np.asarray(type_ids), np.asarray(starts), np.asarray(ends)
        self._tables: dict[torch.device, tuple[torch.Tensor, ...]] = {}
        # Entities that are right, and entities of labels and predictions.
        self.right = self.add_variable((), initializer="zeros", name="right")
        self.total = self.add_variable((), initializer="zeros", name="total")

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Count entities of (batch, length) tags, by (batch, length, tags) values."""
        y_pred = keras.ops.convert_to_tensor(y_pred).detach()
        found = y_pred.argmax(-1)
        true = keras.ops.convert_to_tensor(y_true, dtype="int64")
        is_word = _find_words(true, sample_weight)
        starts, stops, types = self._find(torch.stack([true, found]), is_word)
        same = (stops[0] == stops[1]) & (types[0] == types[1])
        right = starts[0] & starts[1] & same
        self.right.assign_add(right.sum().float())
        self.total.assign_add(starts.sum().float())

    def _find(self, tags: torch.Tensor, is_word: torch.Tensor):
        """Return where entities start, the word each word's ends at, and their types.

        Args:
            tags: int64 (2, batch, length).
            is_word: bool (batch, length).
        """
        type_ids, starts, ends = self._get_tables(tags.device)
        beyond = len(type_ids)
        length = tags.shape[-1]
        places = torch.arange(length, device=tags.device).expand_as(is_word)
        # The last word up to a place, the next from a place on; -1 and `length`: none.
        last = torch.where(is_word, places, -1).cummax(-1).values
        last = torch.nn.functional.pad(last[:, :-1], (1, 0), value=-1)
        following = _reversed_cummin(torch.where(is_word, places, length))
        following = torch.nn.functional.pad(following[:, 1:], (0, 1), value=length)
        padded = torch.nn.functional.pad(tags, (1, 1), value=beyond)
        before = padded.gather(-1, (last + 1).expand_as(tags))
        behind = padded.gather(-1, (following + 1).expand_as(tags))
        is_start = starts[before, tags] & is_word
        is_end = ends[tags, behind] & is_word
        stops = _reversed_cummin(torch.where(is_end, places, length))
        return is_start, stops, type_ids[tags]

    def _get_tables(self, device: torch.device):
        if device not in self._tables:
            self._tables[device] = tuple(
                torch.as_tensor(table, device=device) for table in self._rules
            )
        return self._tables[device]

    def result(self):
        """Return 2 right / (true + predicted); 0 of none."""
        return keras.ops.divide_no_nan(2 * self.right, self.total)

    def get_config(self):
        """Return the constructor's arguments."""
        names = ("type_ids", "starts", "ends")
        tables = (table.tolist() for table in self._rules)
        return {**dict(zip(names, tables, strict=True)), **super().get_config()}


@keras.saving.register_keras_serializable(package="kbert")
class WordAccuracy(keras.metrics.Metric):
    """Share of the words whose tag is right, over all batches.

    Keras's own takes means of batches whose padding differs.

    Args:
        name: of the metric.
        dtype: of its sums.
    """

    def __init__(self, name="accuracy", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.right = self.add_variable((), initializer="zeros", name="right")
        self.total = self.add_variable((), initializer="zeros", name="total")

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Count words of (batch, length) tags, by (batch, length, tags) values."""
        found = keras.ops.convert_to_tensor(y_pred).detach().argmax(-1)
        true = keras.ops.convert_to_tensor(y_true, dtype="int64")
        is_word = _find_words(true, sample_weight)
        self.right.assign_add(((found == true) & is_word).sum().float())
        self.total.assign_add(is_word.sum().float())

    def result(self):
        """Return right / total; 0 of none."""
        return keras.ops.divide_no_nan(self.right, self.total)


def _find_words(tags: torch.Tensor, sample_weight) -> torch.Tensor:
    """Return which tags are those of a word: all, or those that have a weight."""
    if sample_weight is None:
        return torch.ones_like(tags, dtype=torch.bool)
    return keras.ops.convert_to_tensor(sample_weight) > 0


def _reversed_cummin(values: torch.Tensor) -> torch.Tensor:
    """Return the least of each value and those behind it in its row."""
    return values.flip(-1).cummin(-1).values.flip(-1)
