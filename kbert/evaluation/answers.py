"""Answers taken from a text, by SQuAD's own rules: exact match and F1 of words.

Both compare normalised answers: lower case, without punctuation and the articles a, an
and the, white space as one blank. Of several right answers the nearest counts. A
question without an answer is right when nothing is given for it.

Source: Rajpurkar et al. (2016; 2018), the data sets' evaluation scripts.
"""

import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from kbert.evaluation.bootstrap import LEVEL, bootstrap_intervals, describe_figure

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalize_answer(text: str) -> str:
    """Return an answer as it is compared.

    Args:
        text: any.

    Returns:
        The text in lower case, without ASCII punctuation and English articles.
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def score_answer(prediction: str, answers: Sequence[str]) -> tuple[float, float]:
    """Compare an answer with the right ones.

    Args:
        prediction: `""` for none.
        answers: the right ones; none for a question without an answer.

    Returns:
        Exact match, 0 or 1, and F1 in [0, 1]; of each the best over the answers.
    """
    given = normalize_answer(prediction)
    right = [text for text in map(normalize_answer, answers) if text] or [""]
    return float(given in right), max(_f1(given.split(), one.split()) for one in right)


def _f1(given: list[str], right: list[str]) -> float:
    if not given or not right:
        return float(given == right)
    common = sum((Counter(given) & Counter(right)).values())
    return 2 * common / (len(given) + len(right))


def measure_answers(
    answers: Sequence[Sequence[str]],
    predictions: Sequence[str],
    *,
    num_bootstrap: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure answers to questions.

    Args:
        answers: for each question the right ones; none where there is no answer.
        predictions: for each question the answer given; `""` for none.
        num_bootstrap: resamples of questions for the intervals; 0 leaves them out.
        seed: of the resamples.

    Returns:
        A dict of `value`, `low` and `high` (the 95 % interval; `None` where undefined)
        for each of `exact_match` and `f1`, and, if some questions have no answer, the
        same over those that have one (`_answerable`) and those that have none
        (`_unanswerable`). Beside them `num_examples`, `num_unanswerable`, `intervals`
        and `notes`.

    Raises:
        ValueError: there is no question, or the two are not equally many.
    """
    if len(answers) != len(predictions) or not len(answers):
        raise ValueError(
            "there must be a prediction for each question, and at least one; received "
            f"{len(predictions)} for {len(answers)}."
        )
    pairs = zip(predictions, answers, strict=True)
    scores = np.array([score_answer(given, right) for given, right in pairs])
    has_answer = np.array([any(right) for right in answers])
    parts = {"": np.ones(len(scores), bool)}
    if not has_answer.all():
        parts |= {"_answerable": has_answer, "_unanswerable": ~has_answer}
    figures: dict[str, Any] = {}
    for suffix, rows in parts.items():
        if rows.any():
            figures |= _measure_part(scores[rows], suffix, num_bootstrap, seed)
    return {
        "num_examples": len(scores),
        "num_unanswerable": int((~has_answer).sum()),
        **figures,
        "intervals": {
            "method": "percentile bootstrap over questions",
            "level": LEVEL,
            "num_resamples": num_bootstrap,
            "seed": seed,
        },
        "notes": [],
    }


def _measure_part(
    scores: np.ndarray, suffix: str, num_bootstrap: int, seed: int
) -> dict[str, Any]:
    ends: list[tuple[float, float] | None] = [None, None]
    if num_bootstrap:
        ends = bootstrap_intervals(
            lambda rows: scores[rows].mean(axis=1),
            len(scores),
            num_bootstrap=num_bootstrap,
            seed=seed,
        )
    rows = zip(("exact_match", "f1"), scores.mean(axis=0), ends, strict=True)
    return {name + suffix: describe_figure(value, end) for name, value, end in rows}
