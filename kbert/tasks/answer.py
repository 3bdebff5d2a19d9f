"""Answers to questions, taken from a text: `--task answer`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kbert.evaluation.answers import measure_answers, score_answer
from kbert.tasks.answer_data import (
    ANSWER_LENGTH,
    SUFFIXES,
    Questions,
    is_squad,
    load_questions,
    read_questions,
)
from kbert.tasks.answer_judge import AnswerJudge
from kbert.tasks.parts import TaskSplits, find_sources
from kbert.tasks.task import LAYOUT, NUM_MISTAKES, Request, Task

if TYPE_CHECKING:
    import keras
    import pyarrow as pa

    from kbert.encoded import Encoded
    from kbert.models import Model
    from kbert.presets import Preset
    from kbert.tasks.passages import PassageWindows
    from kbert.tasks.windows import WindowBatches

_UNANSWERABLE = "unanswerable"


@dataclass(frozen=True)
class Answer:
    """An answer in a text.

    Args:
        text: its characters; `""` where the text has no answer.
        start: its first character's place in the text, from 0; `None` without one.
        end: the place behind its last.
        probability: that it begins and ends there, in [0, 1].
    """

    text: str
    start: int | None
    end: int | None
    probability: float


class AnswerQuestions(Task):
    """Questions answered by a part of a text, measured by SQuAD's rules."""

    name = "answer"
    words = "answers questions with a part of a text"
    metric = "span_accuracy"
    mode = "max"
    headlines = ("exact_match", "f1")
    inputs = (("question",), ("context",))
    readings = LAYOUT
    judge = AnswerJudge()

    def load(self, request: Request) -> TaskSplits:
        """Read, check and split questions; see `load_questions`."""
        return load_questions(request)

    def find_own_parts(self, source: Any) -> dict[str, Any]:
        """Find a folder's files of questions; see `Task`."""
        return find_sources(source, None, None, SUFFIXES)[0]

    def read_records(
        self, path: Path, reading: Mapping[str, Any]
    ) -> list[dict[str, Any]] | None:
        """Read the questions of a SQuAD file."""
        if not is_squad(path, reading.get("encoding")):
            return None
        part, _, _ = read_questions(path, reading=reading)
        names = ("id", "question", "context")
        rows = zip(part.ids, part.questions, part.contexts, strict=True)
        records: list[dict[str, Any]]
        records = [dict(zip(names, row, strict=True)) for row in rows]
        if part.labels is not None:
            for record, right in zip(records, part.labels, strict=True):
                record["answers"] = right
        return records

    def build(
        self,
        preset: "Preset",
        label_names: Sequence[str] = (),
        *,
        dropout: float = 0.0,
        max_length: int | None = None,
        precision: Any = "auto",
        **options: Any,
    ) -> "Model":
        """Put two softmaxes over the tokens, first and last, on an encoder; see `Task`.

        Like BERT's own, the head drops no values unless told, and windows have 384
        tokens. A longer text is read in several that share 128.
        """
        import keras

        from kbert.engine.layers import build_initializer
        from kbert.tasks.windows import encode_tokens, finish_model, refuse_options
        from kbert.token_heads import SpanScores

        refuse_options(self.name, options)
        backbone, tokens = encode_tokens(preset, precision)
        if max_length is None:
            max_length = min(ANSWER_LENGTH, backbone.config.max_sequence_length)
        if dropout:
            tokens = keras.layers.Dropout(dropout, name="head_dropout")(tokens)
        scores = keras.layers.Dense(
            2, kernel_initializer=build_initializer(), name="span_scores"
        )(tokens)
        scores = SpanScores(name="spans")(scores, backbone.input["padding_mask"])
        outputs = keras.layers.Softmax(name="probabilities")(scores)
        return finish_model(self.name, preset, backbone, outputs, max_length)

    def prepare(self, model: "Model", train: Questions) -> None:
        """Let the model give no answer if some questions to train on have none."""
        model.metadata[_UNANSWERABLE] = train.has_unanswerable

    def encode(self, preset: "Preset", part: Questions, max_length: int) -> "Encoded":
        """Tokenize a part in windows of up to 384 tokens, to count these."""
        from kbert.tasks.passages import encode_passages
        from kbert.text import Preprocessor

        length = min(max_length, ANSWER_LENGTH)
        preprocessor = Preprocessor(preset.tokenizer, max_length=length)
        return encode_passages(part.questions, part.contexts, preprocessor).encoded

    def compile(self, model: "Model", optimizer: "keras.optimizers.Optimizer") -> None:
        """Compile with the mean cross-entropy of first and last tokens."""
        from kbert.token_heads import SpanAccuracy

        model.compile(
            optimizer,
            "sparse_categorical_crossentropy",
            metrics=[SpanAccuracy()],
        )

    def feed(
        self, model: "Model", part: Questions, batch_size: int, seed: int | None
    ) -> "WindowBatches":
        """Return batches of windows, each padded to its longest; see `Task`.

        A window without the answer points to its first token, [CLS].
        """
        from kbert.tasks.passages import encode_passages
        from kbert.tasks.windows import WindowBatches

        assert model.preprocessor is not None and part.answers is not None
        windows = encode_passages(part.questions, part.contexts, model.preprocessor)
        windows = windows.with_answers(part.answers, part.contexts)
        return WindowBatches(windows, batch_size, seed)

    def predict(
        self, model: "Model", inputs: Any, *, batch_size: int = 32
    ) -> list[Answer]:
        """Answer questions with the likeliest part of up to 30 tokens of their text.

        Args:
            model: trained.
            inputs: `Questions`, or a list of (question, text) pairs.
            batch_size: windows a batch.

        Returns:
            An answer a question.

        Raises:
            ValueError: an input is no pair of texts.
        """
        from kbert.tasks.passages import encode_passages

        if isinstance(inputs, Questions):
            questions, contexts = inputs.questions, inputs.contexts
        else:
            pairs = [_check_pair(one, row) for row, one in enumerate(inputs)]
            questions, contexts = [one[0] for one in pairs], [one[1] for one in pairs]
        if not questions:
            return []
        assert model.preprocessor is not None
        windows = encode_passages(questions, contexts, model.preprocessor)
        found, spans, none = _predict_windows(model, windows, batch_size)
        may_be_none = bool(model.metadata.get(_UNANSWERABLE))
        return _choose_answers(windows, found, spans, none, contexts, may_be_none)

    def measure(
        self,
        part: Questions,
        predictions: Sequence[Answer],
        label_names: Sequence[str] = (),
    ) -> dict[str, Any]:
        """Compare answers by SQuAD's rules; see `kbert.evaluation.measure_answers`."""
        assert part.labels is not None
        return measure_answers(part.labels, [one.text for one in predictions])

    def find_mistakes(
        self,
        part: Questions,
        predictions: Sequence[Answer],
        label_names: Sequence[str] = (),
        thresholds: Any = None,
    ) -> list[dict[str, Any]]:
        """Return the wrong answers that the model was surest of."""
        found: list[dict[str, Any]] = []
        names = self.name_labels(part, label_names)
        for row, (one, right) in enumerate(
            zip(predictions, part.labels or (), strict=True)
        ):
            if not score_answer(one.text, right)[0]:
                found.append(
                    {
                        "row": int(part.rows[row]),
                        "text": part.questions[row],
                        "num_characters": len(part.questions[row]),
                        "text_pair": part.contexts[row],
                        "label_name": names[row] or "no answer",
                        "predicted_name": one.text or "no answer",
                        "probability": one.probability,
                    }
                )
        found.sort(key=lambda one: -one["probability"])
        return found[:NUM_MISTAKES]

    def name_labels(self, part: Questions, label_names: Sequence[str]) -> list[str]:
        """Return the right answers of each question, parted by bars."""
        return [" | ".join(dict.fromkeys(texts)) for texts in part.labels or ()]

    def tabulate(
        self,
        model: "Model",
        inputs: Any,
        predictions: Sequence[Answer],
        thresholds: None = None,
    ) -> dict[str, list[Any]]:
        """Return each answer, its place in the text and its probability."""
        return {
            "answer": [one.text for one in predictions],
            "start": [one.start for one in predictions],
            "end": [one.end for one in predictions],
            "probability": [one.probability for one in predictions],
        }

    def find_column_types(self) -> "dict[str, pa.DataType]":
        """Return the types of places, which no answer has not."""
        import pyarrow as pa

        return {"start": pa.int64(), "end": pa.int64()}


def _check_pair(one: Any, row: int) -> tuple[str, str]:
    is_pair = isinstance(one, list | tuple) and len(one) == 2
    if not is_pair or not all(isinstance(text, str) for text in one):
        raise ValueError(
            f"input {row} must be a question and the text it is about; received "
            f"{one!r:.60}."
        )
    return one[0], one[1]


def _predict_windows(
    model: "Model", windows: "PassageWindows", batch_size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return, of each window, its best answer's probability and tokens, and [CLS]'s."""
    from kbert.tasks.passages import find_best_spans
    from kbert.tasks.windows import WindowBatches

    found = np.zeros(len(windows))
    none = np.zeros(len(windows))
    spans = np.zeros((len(windows), 2), np.int64)
    for chosen, values in WindowBatches(windows, batch_size, None).predict(model):
        first, last = values[:, 0], values[:, 1]
        found[chosen], spans[chosen] = find_best_spans(
            first, last, windows.columns[chosen], windows.lengths[chosen]
        )
        none[chosen] = first[:, 0] * last[:, 0]
    return found, spans + windows.firsts[:, None], none


def _choose_answers(
    windows: "PassageWindows",
    found: np.ndarray,
    spans: np.ndarray,
    none: np.ndarray,
    contexts: Sequence[str],
    may_be_none: bool,
) -> list[Answer]:
    """Choose the best window of each question, or none where every one says so."""
    starts = np.searchsorted(windows.questions, np.arange(len(contexts)))
    none = np.minimum.reduceat(none, starts)
    order = np.lexsort((-found, windows.questions))
    best = order[starts]  # as many windows of each question as before
    characters = np.full((len(contexts), 2), -1)
    full = np.flatnonzero(windows.lengths[best] > 0)
    characters[full] = windows.find_characters(full, spans[best][full])
    answers = []
    for row, (start, end) in enumerate(characters.tolist()):
        probability = float(found[best[row]])
        if start < 0 or (may_be_none and none[row] > probability):
            answers.append(Answer("", None, None, float(none[row])))
        else:
            answers.append(Answer(contexts[row][start:end], start, end, probability))
    return answers


TASK = AnswerQuestions()
