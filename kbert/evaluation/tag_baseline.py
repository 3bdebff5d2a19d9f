"""What a list of words can do: the tag that each had most often, beside a tagger."""

import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from kbert.evaluation.entities import count_entities, score_counts
from kbert.evaluation.paired import compare_paired, conclude

NAME = "each word’s most frequent tag of the training rows"
_OUTSIDE = "O"


def predict_frequent_tags(
    train_words: Sequence[str],
    train_labels: Any,
    words: Sequence[str],
    label_names: Sequence[str],
) -> np.ndarray:
    """Give each word the tag that it had most often, and a new word none.

    Args:
        train_words: words of all training sentences.
        train_labels: int array-like, as many ids of their tags.
        words: to tag.
        label_names: tags in id order.

    Returns:
        int64, an id a word.
    """
    counts: defaultdict[str, Counter] = defaultdict(Counter)
    for word, label in zip(train_words, np.asarray(train_labels).tolist(), strict=True):
        counts[word][label] += 1
    outside = list(label_names).index(_OUTSIDE) if _OUTSIDE in label_names else 0
    known = {word: found.most_common(1)[0][0] for word, found in counts.items()}
    return np.array([known.get(word, outside) for word in words], np.int64)


def compare_tags_with_baseline(
    labels: Any,
    ours: Any,
    theirs: Any,
    offsets: Any,
    label_names: Sequence[str],
    *,
    split: str,
    num_bootstrap: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Compare a tagger with the tags that words had most often.

    Args:
        labels: int array-like (num_words,), ids of the true tags.
        ours: the same of the tagger.
        theirs: the same of the baseline; see `predict_frequent_tags`.
        offsets: int array-like (num_sentences + 1,), where each sentence begins, and
            the end.
        label_names: tags in id order.
        split: name of the part.
        num_bootstrap: resamples of the sentences, the same for both.
        seed: of the resamples.

    Returns:
        As `compare_with_baseline`; the figures are `f1` of whole entities, by which
        the verdict is, `precision`, `recall` and `accuracy` (of words).

    Raises:
        ValueError: the arrays do not fit each other or the names.
    """
    started = time.perf_counter()
    one, other = (
        partial(_measure, count_entities(labels, each, offsets, label_names))
        for each in (ours, theirs)
    )
    num_rows = len(offsets) - 1
    figures = compare_paired(
        one, other, num_rows, num_bootstrap=num_bootstrap, seed=seed
    )
    return {
        "name": NAME,
        "split": split,
        "num_examples": num_rows,
        "seconds": time.perf_counter() - started,
        "figures": figures,
        **conclude(NAME, figures, "f1", "entity F1", is_error=False),
    }


def _measure(counts: np.ndarray, rows: np.ndarray) -> dict[str, np.ndarray]:
    return score_counts(np.stack([one[rows].sum(axis=1) for one in counts]))
