"""How far to trust answers to questions."""

import re

import numpy as np

from kbert import evaluation
from kbert.evaluation.answer_baseline import compare_answers_with_baseline
from kbert.evaluation.answers import score_answer
from kbert.tasks.judge import Judge

_OTHER = "another"
_QUESTION_WORD = re.compile(
    r"\b(who|whom|whose|when|where|which|why|what|"
    r"how (?:many|much|long|old|far)|how)\b",
    re.IGNORECASE,
)


class AnswerJudge(Judge):
    """Of an answer a question."""

    figure = "f1"

    def group(self, model, part, columns):
        """Group questions by their first question word, and by their text's length."""
        lengths = np.array([len(text.split()) for text in part.contexts])
        return {
            "question word": [_find_word(one) for one in part.questions],
            "length of the text": evaluation.group_lengths(lengths, unit="words"),
        }

    def slice(self, part, predictions, groups, thresholds=None):
        """Measure the mean F1 of each group."""
        pairs = zip(predictions, part.labels, strict=True)
        scores = [score_answer(one.text, right)[1] for one, right in pairs]
        return evaluation.slice_shares(self.figure, scores, groups)

    def compare(self, splits, predictions, thresholds=None, *, num_bootstrap, seed):
        """Compare with the sentence that has the most words of the question."""
        name, part = evaluation.find_measured_part(splits)
        train = splits.train
        return compare_answers_with_baseline(
            (train.questions, train.contexts, train.labels),
            part.questions,
            part.contexts,
            part.labels,
            [one.text for one in predictions],
            split=name,
            num_bootstrap=num_bootstrap,
            seed=seed,
        )


def _find_word(question: str) -> str:
    found = _QUESTION_WORD.search(question)
    return found.group().lower() if found else _OTHER
