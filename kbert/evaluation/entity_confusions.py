"""Which types of entities are taken for which others, with sentences to look at."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kbert.evaluation.entities import (
    Entities,
    build_tag_rules,
    find_entities,
)

NOTHING = "nothing"
_OTHER_BOUNDS = "{} from or to another word"
_NUM_CONFUSIONS = 10
_NUM_EXAMPLES = 3
_NUM_CHARACTERS = 300


def find_entity_confusions(
    labels: Any,
    predictions: Any,
    offsets: Any,
    label_names: Sequence[str],
    words: Sequence[str],
    *,
    probabilities: Any,
    rows: Any = None,
) -> list[dict[str, Any]]:
    """Find the commonest mistakes about entities.

    Args:
        labels: int array-like (num_words,), ids of the true tags.
        predictions: the same of the predicted tags.
        offsets: int array-like (num_sentences + 1,), where each sentence begins, and
            the end.
        label_names: tags in id order.
        words: of all sentences.
        probabilities: float array-like (num_words,), of the predicted tags.
        rows: int array-like (num_sentences,), their numbers in the source; `None`
            counts from 0.

    Returns:
        The ten commonest, each with `label_name` and `predicted_name` (a type; for an
        entity that is missed or made up, `nothing`; where the words differ, that is
        said), `count`, `share` (of the entities of this type; `None` of what is made
        up) and `examples`, each with `row`, `entity`, `text` (its sentence's first 300
        characters) and `probability` (of the least certain predicted tag).
    """
    offsets = np.asarray(offsets, np.int64)
    rules = build_tag_rules(label_names)
    true = find_entities(np.asarray(labels, np.int64), offsets, rules)
    found = find_entities(np.asarray(predictions, np.int64), offsets, rules)
    types = [name or "entity" for name in rules.types]
    pairs: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for start, stop, name, other in _pair(true, found, types, len(words)):
        if name != other:
            pairs.setdefault((name, other), []).append((start, stop))
    totals = np.bincount(true.types, minlength=len(types))
    sizes = dict(zip(types, totals.tolist(), strict=True))
    sure = np.asarray(probabilities, np.float64)
    numbers = np.arange(len(offsets) - 1) if rows is None else np.asarray(rows)

    def describe(start: int, stop: int) -> dict[str, Any]:
        row = int(np.searchsorted(offsets, start, side="right")) - 1
        sentence = " ".join(words[offsets[row] : offsets[row + 1]])
        return {
            "row": int(numbers[row]),
            "entity": " ".join(words[start:stop]),
            "text": sentence[:_NUM_CHARACTERS],
            "probability": float(sure[start:stop].min()),
        }

    found_pairs = sorted(pairs.items(), key=lambda item: -len(item[1]))
    return [
        {
            "label_name": name,
            "predicted_name": other,
            "count": len(spans),
            "share": len(spans) / sizes[name] if name in sizes else None,
            "examples": sorted(
                (describe(*span) for span in spans), key=lambda one: -one["probability"]
            )[:_NUM_EXAMPLES],
        }
        for (name, other), spans in found_pairs[:_NUM_CONFUSIONS]
    ]


def _pair(
    true: Entities, found: Entities, types: Sequence[str], num_words: int
) -> list[tuple[int, int, str, str]]:
    """Pair entities that share words: first word, one past the last, both names."""
    place = np.full(num_words, -1)  # of the predicted entity that holds a word
    for number, (start, stop) in enumerate(zip(found.starts, found.stops, strict=True)):
        place[start:stop] = number
    is_met = np.zeros(len(found), bool)
    pairs = []
    for start, stop, kind in zip(true.starts, true.stops, true.types, strict=True):
        numbers = place[start:stop]
        met = numbers[numbers >= 0]
        is_met[met] = True
        other = NOTHING
        if len(met):
            first = met[0]
            other = types[found.types[first]]
            if (found.starts[first], found.stops[first]) != (start, stop):
                other = _OTHER_BOUNDS.format(other)
        pairs.append((int(start), int(stop), types[kind], other))
    for made_up in np.flatnonzero(~is_met).tolist():
        span = int(found.starts[made_up]), int(found.stops[made_up])
        pairs.append((*span, NOTHING, types[found.types[made_up]]))
    return pairs
