"""The F1 of entities as a Keras metric, counted where the tags are."""

from collections.abc import Sequence

import keras
import torch

from kbert.evaluation.entities import build_tag_rules


@keras.saving.register_keras_serializable(package="kbert")
class EntityF1(keras.metrics.Metric):
    """F1 of whole entities, over all batches; see `kbert.evaluation.entities`.

    Weights say which tokens are the first of a word: tags of others do not count.

    Args:
        label_names: tags in id order.
        name: of the metric.
        dtype: of its sums.
    """

    def __init__(self, label_names: Sequence[str], name="f1", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.label_names = tuple(label_names)
        self._rules = build_tag_rules(self.label_names)
        self._tables: dict[torch.device, tuple[torch.Tensor, ...]] = {}
        # Entities that are right, and entities of labels and predictions.
        self.right = self.add_variable((), initializer="zeros", name="right")
        self.total = self.add_variable((), initializer="zeros", name="total")

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Count entities of (batch, length) tags, by (batch, length, tags) values."""
        y_pred = keras.ops.convert_to_tensor(y_pred).detach()
        found = y_pred.argmax(-1)
        true = keras.ops.convert_to_tensor(y_true, dtype="int64")
        if sample_weight is None:
            is_word = torch.ones_like(true, dtype=torch.bool)
        else:
            is_word = keras.ops.convert_to_tensor(sample_weight) > 0
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
            rules = self._rules
            self._tables[device] = tuple(
                torch.as_tensor(table, device=device)
                for table in (rules.type_ids, rules.starts, rules.ends)
            )
        return self._tables[device]

    def result(self):
        """Return 2 right / (true + predicted); 0 of none."""
        return keras.ops.divide_no_nan(2 * self.right, self.total)

    def get_config(self):
        """Return the constructor's arguments."""
        return {"label_names": list(self.label_names), **super().get_config()}


def _reversed_cummin(values: torch.Tensor) -> torch.Tensor:
    """Return the least of each value and those behind it in its row."""
    return values.flip(-1).cummin(-1).values.flip(-1)
