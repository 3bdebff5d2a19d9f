"""Named entities among tagged words: precision, recall and F1 of whole entities.

Tags are O (outside), or a prefix and a type: B- (begin), I- (inside), E- or L- (end)
and S- or U- (single). An entity is right when its first word, its last word and its
type are. Tags in an order that their scheme does not have, such as an I- without a B-,
are read as the scripts of the CoNLL shared tasks read them.

Source: Tjong Kim Sang & De Meulder (2003), `conlleval`; seqeval's default mode.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kbert.evaluation.bootstrap import LEVEL, bootstrap_intervals, describe_figure

PREFIXES = "BIESLU"
_OUTSIDE = "O"
_SAME = {"L": "E", "U": "S"}
_FIGURES = ("f1", "precision", "recall", "accuracy")


def split_tag(tag: str) -> tuple[str, str]:
    """Part a tag into its prefix and its type.

    Args:
        tag: such as `B-PER`, `I` or `O`.

    Returns:
        One of `O`, `B`, `I`, `E` and `S`, and the type; `""` for none.

    Raises:
        ValueError: it is no such tag.
    """
    prefix, hyphen, kind = tag.partition("-")
    if tag == _OUTSIDE:
        return _OUTSIDE, ""
    if len(prefix) != 1 or prefix not in PREFIXES or (hyphen and not kind):
        raise ValueError(
            f"the tag {tag!r} is neither O nor one of B-, I-, E- and S- with a type, "
            "such as B-PER. Write it so, or name the column of the tags."
        )
    return _SAME.get(prefix, prefix), kind


@dataclass(frozen=True, eq=False)
class TagRules:
    """Where entities begin and end, by the tags of two neighbours.

    Tags are ids; the id `num_tags` stands for what is beyond a sentence.

    Args:
        types: names of the types.
        type_ids: int64 (num_tags,), type of each tag; -1 outside.
        starts: bool (num_tags + 1, num_tags + 1): whether an entity starts at a tag, by
            the tag before and the tag itself.
        ends: bool, the same shape: whether one ends at a tag, by the tag itself and
            the one behind.
    """

    types: tuple[str, ...]
    type_ids: np.ndarray
    starts: np.ndarray
    ends: np.ndarray


def build_tag_rules(label_names: Sequence[str]) -> TagRules:
    """Tabulate where entities begin and end.

    Args:
        label_names: tags in id order.

    Returns:
        The tables.

    Raises:
        ValueError: a name is no tag.
    """
    tags = [split_tag(name) for name in (*label_names, _OUTSIDE)]
    types = tuple(dict.fromkeys(kind for prefix, kind in tags if prefix != _OUTSIDE))
    size = len(tags)
    starts, ends = np.zeros((size, size), bool), np.zeros((size, size), bool)
    for one, (prefix, kind) in enumerate(tags):
        for two, (next_prefix, next_kind) in enumerate(tags):
            parts = prefix in "ES" or next_prefix in "BS" or kind != next_kind
            parts |= _OUTSIDE in (prefix, next_prefix)
            starts[one, two] = parts and next_prefix != _OUTSIDE
            ends[one, two] = parts and prefix != _OUTSIDE
    type_ids = [types.index(k) if p != _OUTSIDE else -1 for p, k in tags[:-1]]
    return TagRules(types, np.array(type_ids, np.int64), starts, ends)


@dataclass(frozen=True, eq=False)
class Entities:
    """Entities of tagged sentences, in their order.

    Args:
        starts: int64 (num_entities,), first word of each, counted over all sentences.
        stops: int64, one past its last word.
        types: int64, numbers of `TagRules.types`.
    """

    starts: np.ndarray
    stops: np.ndarray
    types: np.ndarray

    def __len__(self) -> int:
        """Return the number of entities."""
        return len(self.starts)


def find_entities(tags: np.ndarray, offsets: np.ndarray, rules: TagRules) -> Entities:
    """Find the entities of tagged sentences.

    Args:
        tags: int (num_words,), ids of the tags, sentence after sentence.
        offsets: int64 (num_sentences + 1,), where each sentence begins, and the end.
        rules: of the tags.

    Returns:
        The entities; none reaches from one sentence into the next.
    """
    beyond = len(rules.type_ids)
    full = offsets[:-1] < offsets[1:]
    before = np.concatenate(([beyond], tags[:-1]))[: len(tags)]
    behind = np.concatenate((tags[1:], [beyond]))[: len(tags)]
    before[offsets[:-1][full]] = beyond
    behind[offsets[1:][full] - 1] = beyond
    starts = np.flatnonzero(rules.starts[before, tags])
    stops = np.flatnonzero(rules.ends[tags, behind]) + 1
    return Entities(starts, stops, rules.type_ids[tags[starts]])


def match_entities(labels: Entities, predictions: Entities) -> np.ndarray:
    """Return which predicted entities are right, bool (num_predicted,)."""
    size = int(max(labels.starts.max(initial=-1), predictions.starts.max(initial=-1)))
    stops = np.full(size + 2, -1)
    types = np.full(size + 2, -1)
    stops[labels.starts], types[labels.starts] = labels.stops, labels.types
    same_stop = stops[predictions.starts] == predictions.stops
    return same_stop & (types[predictions.starts] == predictions.types)


def measure_entities(
    labels: Any,
    predictions: Any,
    offsets: Any,
    label_names: Sequence[str],
    *,
    num_bootstrap: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure a tagger.

    Args:
        labels: int array-like (num_words,), ids of the true tags.
        predictions: the same of the predicted tags.
        offsets: int array-like (num_sentences + 1,), where each sentence begins, and
            the end.
        label_names: tags in id order.
        num_bootstrap: resamples of sentences for the intervals; 0 leaves them out.
        seed: of the resamples.

    Returns:
        A dict of `value`, `low` and `high` (the 95 % interval; `None` where undefined)
        for each of `f1`, `precision`, `recall` (over all entities), `f1_macro` (mean
        over the types, without an interval) and `accuracy` (of words). Beside them
        `per_type`, `num_examples` (sentences), `num_words`, `intervals` and `notes`.

    Raises:
        ValueError: the arrays do not fit each other or the names.
    """
    compared = _compare(labels, predictions, offsets, label_names)
    per_type = _measure_types(compared)
    counts = compared.count_by_sentence()
    figures = _measure_counts(counts, num_bootstrap, seed)
    f1_macro = float(np.mean([row["f1"] for row in per_type])) if per_type else None
    return {
        "num_examples": len(compared.offsets) - 1,
        "num_words": len(compared.same),
        **figures,
        "f1_macro": describe_figure(f1_macro, None),
        "per_type": per_type,
        "intervals": {
            "method": "percentile bootstrap over sentences",
            "level": LEVEL,
            "num_resamples": num_bootstrap,
            "seed": seed,
        },
        "notes": [] if len(compared.true) else ["There is no entity among the labels."],
    }


@dataclass(frozen=True, eq=False)
class _Compared:
    """True and predicted entities of the same sentences.

    Args:
        rules: of the tags.
        offsets: int64 (num_sentences + 1,), where each sentence begins, and the end.
        same: bool (num_words,), whether the tag of a word is right.
        true: entities of the labels.
        found: of the predictions.
        right: bool (num_predicted,), whether a predicted entity is right.
    """

    rules: TagRules
    offsets: np.ndarray
    same: np.ndarray
    true: Entities
    found: Entities
    right: np.ndarray

    def count_by_sentence(self) -> np.ndarray:
        """Count right, found and true entities, right words and words, (5, n)."""
        starts = self.found.starts
        places = (starts[self.right], starts, self.true.starts, self.same.nonzero()[0])
        counts = [np.diff(np.searchsorted(one, self.offsets)) for one in places]
        return np.stack([*counts, np.diff(self.offsets)])


def _compare(
    labels: Any, predictions: Any, offsets: Any, label_names: Sequence[str]
) -> _Compared:
    labels, predictions, offsets = _check(labels, predictions, offsets, label_names)
    rules = build_tag_rules(label_names)
    true, found = (find_entities(one, offsets, rules) for one in (labels, predictions))
    same, right = labels == predictions, match_entities(true, found)
    return _Compared(rules, offsets, same, true, found, right)


def _check(
    labels: Any, predictions: Any, offsets: Any, label_names: Sequence[str]
) -> list[np.ndarray]:
    arrays = [np.asarray(a, np.int64) for a in (labels, predictions, offsets)]
    labels, predictions, offsets = arrays
    if labels.shape != predictions.shape or offsets[-1] != len(labels):
        raise ValueError(
            "labels and predictions must have a tag for each word of the sentences, "
            f"{int(offsets[-1])}; received {len(labels)} and {len(predictions)}."
        )
    if not len(labels):
        raise ValueError("there is no word to measure; pass at least one sentence.")
    for name, tags in (("labels", labels), ("predictions", predictions)):
        if tags.min() < 0 or tags.max() >= len(label_names):
            raise ValueError(
                f"{name} must lie in [0, {len(label_names)}); received "
                f"{int(tags.min())} to {int(tags.max())}."
            )
    return arrays


def _measure_types(compared: _Compared) -> list[dict[str, Any]]:
    """Return a row for each type that occurs among labels or predictions."""
    types, size = compared.rules.types, len(compared.rules.types)
    found = compared.found.types
    num_true = np.bincount(compared.true.types, minlength=size)
    num_found = np.bincount(found, minlength=size)
    num_right = np.bincount(found[compared.right], minlength=size)
    f1, precision, recall = _score(num_right, num_found, num_true)
    return [
        {
            "type": types[k] or "_",
            "precision": float(precision[k]),
            "recall": float(recall[k]),
            "f1": float(f1[k]),
            "num_entities": int(num_true[k]),
            "num_predicted": int(num_found[k]),
        }
        for k in np.flatnonzero(num_true + num_found)
    ]


def count_entities(
    labels: Any, predictions: Any, offsets: Any, label_names: Sequence[str]
) -> np.ndarray:
    """Count, sentence by sentence, what the figures are made of.

    Args:
        labels: as for `measure_entities`, like the others.
        predictions: ids of the predicted tags.
        offsets: where each sentence begins, and the end.
        label_names: tags in id order.

    Returns:
        int64 (5, num_sentences): right, predicted and true entities, right words and
        words.

    Raises:
        ValueError: the arrays do not fit each other or the names.
    """
    return _compare(labels, predictions, offsets, label_names).count_by_sentence()


def score_counts(sums: np.ndarray) -> dict[str, np.ndarray]:
    """Compute the figures of counts.

    Args:
        sums: (5, ...), as `count_entities` returns them, summed over sentences.

    Returns:
        `f1`, `precision`, `recall` and `accuracy`, each of the shape of a count.
    """
    right, found, true, same, words = sums
    figures = [*_score(right, found, true), same / np.maximum(words, 1)]
    return dict(zip(_FIGURES, figures, strict=True))


def _measure_counts(
    counts: np.ndarray, num_bootstrap: int, seed: int
) -> dict[str, dict[str, float | None]]:
    def resample(rows: np.ndarray) -> np.ndarray:
        sums = np.stack([one[rows].sum(axis=1) for one in counts])
        return np.stack(list(score_counts(sums).values()), axis=1)

    values = score_counts(counts.sum(axis=1))
    ends: list[tuple[float, float] | None] = [None] * len(values)
    if num_bootstrap:
        ends = bootstrap_intervals(
            resample, counts.shape[1], num_bootstrap=num_bootstrap, seed=seed
        )
    rows = zip(values.items(), ends, strict=True)
    return {name: describe_figure(float(value), end) for (name, value), end in rows}


def _score(right: np.ndarray, found: np.ndarray, true: np.ndarray) -> list[np.ndarray]:
    """Return F1, precision and recall; nothing of nothing is 0."""
    pairs = ((2 * right, found + true), (right, found), (right, true))
    return [a / np.maximum(b, 1) for a, b in pairs]
