"""What common words can do: a sentence of the text, beside a model's answers."""

import re
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from kbert.evaluation.answers import score_answer
from kbert.evaluation.paired import compare_paired, conclude

SENTENCE_NAME = "the sentence with the most words of the question"
NOTHING_NAME = "no answer to any question"
_FIGURES = ("exact_match", "f1")
_SENTENCE = re.compile(r"\S.*?(?:[.!?](?=\s)|[。！？]|\n|$)", re.S)
_WORD = re.compile(r"\w+")
# More training questions tell no better which of the two answers is right more often.
_MOST_TRAINING = 2_000


def answer_by_overlap(question: str, context: str) -> str:
    """Answer with the sentence of a text that shares the most words with a question.

    Args:
        question: any.
        context: text to answer from.

    Returns:
        The first of the best sentences; `""` for a text of white space.
    """
    asked = set(_WORD.findall(question.lower()))
    sentences = [match.group().strip() for match in _SENTENCE.finditer(context)]
    shared = [len(asked & set(_WORD.findall(one.lower()))) for one in sentences]
    return sentences[int(np.argmax(shared))] if sentences else ""


def compare_answers_with_baseline(
    train: tuple[Sequence[str], Sequence[str], Sequence[Sequence[str]]],
    questions: Sequence[str],
    contexts: Sequence[str],
    answers: Sequence[Sequence[str]],
    predictions: Sequence[str],
    *,
    split: str,
    num_bootstrap: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Compare answers with a sentence of the text that shares words with the question.

    Where training questions have no answer and giving none is right more often than
    the sentence, the baseline gives none.

    Args:
        train: questions, texts and right answers of the training rows.
        questions: of the rows measured.
        contexts: the texts that they are about.
        answers: right ones of each question; none where there is no answer.
        predictions: the model's answers; `""` for none.
        split: name of the part.
        num_bootstrap: resamples of the questions, the same for both.
        seed: of the resamples.

    Returns:
        As `compare_with_baseline`; the figures are `f1` of words, by which the verdict
        is, and `exact_match`.
    """
    started = time.perf_counter()
    gives_none = _is_nothing_better(*train)
    theirs = [
        "" if gives_none else answer_by_overlap(question, context)
        for question, context in zip(questions, contexts, strict=True)
    ]
    name = NOTHING_NAME if gives_none else SENTENCE_NAME
    one, other = (
        partial(_measure, _score(each, answers)) for each in (predictions, theirs)
    )
    figures = compare_paired(
        one, other, len(answers), num_bootstrap=num_bootstrap, seed=seed
    )
    return {
        "name": name,
        "split": split,
        "num_examples": len(answers),
        "seconds": time.perf_counter() - started,
        "figures": figures,
        **conclude(name, figures, "f1", "F1", is_error=False),
    }


def _is_nothing_better(
    questions: Sequence[str], contexts: Sequence[str], answers: Sequence[Sequence[str]]
) -> bool:
    rows = range(min(_MOST_TRAINING, len(questions)))
    if all(any(answers[row]) for row in rows):
        return False
    given = [answer_by_overlap(questions[row], contexts[row]) for row in rows]
    right = [answers[row] for row in rows]
    none, sentence = (_score(each, right)[:, 1] for each in ([""] * len(rows), given))
    return bool(none.mean() > sentence.mean())


def _score(given: Sequence[str], answers: Sequence[Sequence[str]]) -> np.ndarray:
    pairs = zip(given, answers, strict=True)
    return np.array([score_answer(one, right) for one, right in pairs])


def _measure(scores: np.ndarray, rows: np.ndarray) -> dict[str, np.ndarray]:
    means = scores[rows].mean(axis=1)
    return dict(zip(_FIGURES, means.T, strict=True))
