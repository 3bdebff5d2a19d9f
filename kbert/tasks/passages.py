"""Questions and the texts that answer them to tokens, in overlapping windows."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from kbert.ragged import offsets_of, ranges
from kbert.tasks.answer_data import Gold
from kbert.tasks.windows import Windows
from kbert.text import Preprocessor
from kbert.token_spans import find_token_spans

# Tokens that neighbouring windows share, and the longest answer, in tokens: both from
# BERT's own SQuAD script.
OVERLAP = 128
LONGEST_ANSWER = 30

_logger = logging.getLogger("kbert")


@dataclass(frozen=True, eq=False)
class PassageWindows(Windows):
    """Windows over the texts of questions, each behind its question.

    Args:
        encoded: a row a window.
        questions: int64 (num_windows,), the question of each window.
        columns: int64 (num_windows,), the first token of the text in its row.
        firsts: int64 (num_windows,), the token that stands there, in the whole text.
        lengths: int64 (num_windows,), tokens of the text in the window.
        passages: int64 (num_questions + 1,), where in `spans` the tokens of each
            distinct text begin, and the end.
        which: int64 (num_questions,), the distinct text of each question.
        spans: int64 (num_tokens, 2), first character of each token of the distinct
            texts, and one past its last.
        answers: int32 (num_windows, 2), columns of the first and last token of the
            answer; 0 where the window has none. `None`: unlabelled.
    """

    questions: np.ndarray
    columns: np.ndarray
    firsts: np.ndarray
    lengths: np.ndarray
    passages: np.ndarray
    which: np.ndarray
    spans: np.ndarray
    answers: np.ndarray | None = None

    def label(self, windows: np.ndarray) -> tuple:
        """Return the first and last columns of the answers of some windows."""
        return () if self.answers is None else (self.answers[windows],)

    def find_characters(self, questions: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """Return int64 (n, 2), first and past the last character of spans of tokens.

        Args:
            questions: int64 (n,), whose texts they are in.
            tokens: int64 (n, 2), first and last token, counted in the whole text.
        """
        first, last = (self.passages[self.which[questions]][:, None] + tokens).T
        return np.stack([self.spans[first, 0], self.spans[last, 1]], axis=1)

    def with_answers(
        self, answers: Sequence[Sequence[Gold]], contexts: Sequence[str]
    ) -> "PassageWindows":
        """Return the same windows with the place of the first answer of each question.

        Args:
            answers: of each question; none where there is none.
            contexts: their texts.
        """
        has = np.array([bool(golds) for golds in answers])
        start = np.array([golds[0].start if golds else 0 for golds in answers])
        size = np.array([len(golds[0].text) if golds else 0 for golds in answers])
        first, last = self._find_tokens(start, start + size, contexts)
        first, last = first[self.questions], last[self.questions]
        inside = has[self.questions] & (first >= self.firsts) & (first <= last)
        inside &= last < self.firsts + self.lengths
        tokens = np.stack([first, last], axis=1)
        columns = (self.columns - self.firsts)[:, None] + tokens
        columns = np.where(inside[:, None], columns, 0).astype(np.int32)
        return replace(self, answers=columns)

    def _find_tokens(
        self, start: np.ndarray, end: np.ndarray, contexts: Sequence[str]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the first and last token, in its text, of each question's answer."""
        # Characters are counted over all texts, so that one search finds all.
        sizes = np.zeros(len(self.passages) - 1, np.int64)
        sizes[self.which] = np.fromiter(map(len, contexts), np.int64, len(contexts))
        before = offsets_of(sizes + 1)[:-1]
        shifted = self.spans + np.repeat(before, np.diff(self.passages))[:, None]
        place, base = before[self.which], self.passages[self.which]
        first = np.searchsorted(shifted[:, 1], place + start, side="right")
        last = np.searchsorted(shifted[:, 0], place + end, side="left") - 1
        return first - base, last - base


def encode_passages(
    questions: Sequence[str], contexts: Sequence[str], preprocessor: Preprocessor
) -> PassageWindows:
    """Tokenize questions and their texts.

    Only the text is cut: into windows that share `OVERLAP` tokens. A question that
    takes more than half of a window loses its end, and a line says so.

    Args:
        questions: a question a row.
        contexts: the text of each.
        preprocessor: of the encoder.

    Returns:
        The windows, question after question.
    """
    tokenizer = preprocessor.tokenizer
    room = preprocessor.max_length - 2 - tokenizer.pair_separators
    asked, offsets = tokenizer.tokenize(list(questions))
    num_asked = np.minimum(np.diff(offsets), room // 2)
    if num_cut := int((num_asked < np.diff(offsets)).sum()):
        _logger.warning(
            "%s of %s questions were cut to %d tokens, half of a window.",
            f"{num_cut:,}",
            f"{len(num_asked):,}",
            room // 2,
        )
    distinct = dict.fromkeys(contexts)
    place = dict(zip(distinct, range(len(distinct)), strict=True))
    which = np.fromiter(map(place.__getitem__, contexts), np.int64, len(contexts))
    ids, passages, spans = find_token_spans(tokenizer, list(distinct))
    question, firsts, lengths = _cut(np.diff(passages)[which], room - num_asked)
    asked = asked[ranges(offsets[:-1][question], num_asked[question])]
    text = ids[ranges(passages[:-1][which][question] + firsts, lengths)]
    pair = np.stack([num_asked[question], lengths])
    return PassageWindows(
        encoded=preprocessor.join_rows([asked, text], pair),
        questions=question,
        columns=pair[0] + 1 + tokenizer.pair_separators,
        firsts=firsts,
        lengths=lengths,
        passages=passages,
        which=which,
        spans=spans,
    )


def _cut(
    lengths: np.ndarray, room: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut texts into windows: return their rows, first tokens and lengths."""
    step = room - np.minimum(OVERLAP, room // 2)
    counts = 1 + np.maximum(0, -(-(lengths - room) // step))
    rows = np.repeat(np.arange(len(lengths)), counts)
    firsts = ranges(np.zeros_like(counts), counts) * step[rows]
    return rows, firsts, np.minimum(room[rows], lengths[rows] - firsts)


def find_best_spans(
    start: np.ndarray, end: np.ndarray, columns: np.ndarray, lengths: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Find the likeliest answer of each window.

    Args:
        start: float (num_windows, num_columns), probability of each token to be the
            first of the answer.
        end: the same to be the last.
        columns: int64 (num_windows,), first token of the text.
        lengths: int64 (num_windows,), tokens of the text.

    Returns:
        Probabilities (num_windows,), 0 where the text has no token, and int64
        (num_windows, 2), first and last token of the answer, counted from the first
        of the text in the window.
    """
    longest = max(1, int(lengths.max(initial=0)))
    places = np.arange(longest)
    taken = np.minimum(columns[:, None] + places, start.shape[1] - 1)
    inside = places < lengths[:, None]
    start, end = (
        np.where(inside, np.take_along_axis(one, taken, axis=1), 0.0)
        for one in (start, end)
    )
    best = np.full(len(start), -1.0)
    spans = np.zeros((len(start), 2), np.int64)
    rows = np.arange(len(start))
    for extra in range(min(LONGEST_ANSWER, longest)):
        joint = start[:, : longest - extra] * end[:, extra:]
        first = joint.argmax(axis=1)
        better = joint[rows, first] > best
        best = np.where(better, joint[rows, first], best)
        spans[better] = np.stack([first, first + extra], axis=1)[better]
    return best, spans
