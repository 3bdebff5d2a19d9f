"""Tagged words, such as names of persons and places: `--task tag`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kbert.evaluation.entities import (
    build_tag_rules,
    find_entities,
    measure_entities,
)
from kbert.tasks.parts import TaskSplits, find_sources
from kbert.tasks.tag_data import (
    CONLL_SUFFIXES,
    SUFFIXES,
    Sentences,
    load_sentences,
    read_sentences,
)
from kbert.tasks.tag_judge import TagJudge
from kbert.tasks.task import NUM_MISTAKES, Request, Task

if TYPE_CHECKING:
    import keras
    import pyarrow as pa

    from kbert.encoded import Encoded
    from kbert.models import Model
    from kbert.presets import Preset
    from kbert.tasks.windows import WindowBatches
    from kbert.tasks.words import WordWindows


@dataclass(frozen=True)
class Entity:
    """An entity in a text.

    Args:
        text: its characters.
        type: such as `PER`.
        start: its first character's place in the text, from 0.
        end: the place behind its last.
        probability: of the least certain of its words' tags, in [0, 1].
    """

    text: str
    type: str
    start: int
    end: int
    probability: float


@dataclass(frozen=True, eq=False)
class TaggedText:
    """A text with a tag for each word.

    Args:
        text: as it was given; of a list of words, these joined by blanks.
        spans: int64 (num_words, 2), the first character of each word and one past its
            last.
        labels: int32 (num_words,), ids of the tags.
        probabilities: float32 (num_words,), of the tags.
        label_names: tags in id order.
    """

    text: str
    spans: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray
    label_names: tuple[str, ...]

    @property
    def words(self) -> list[str]:
        """The words."""
        return [self.text[start:end] for start, end in self.spans.tolist()]

    @property
    def tags(self) -> list[str]:
        """A tag for each word."""
        return [self.label_names[label] for label in self.labels]

    @property
    def entities(self) -> list[Entity]:
        """What the tags say, in the order of the text."""
        rules = build_tag_rules(self.label_names)
        found = find_entities(self.labels, np.array([0, len(self.labels)]), rules)
        return [
            self._describe(start, stop, rules.types[kind])
            for start, stop, kind in zip(
                found.starts, found.stops, found.types, strict=True
            )
        ]

    def _describe(self, first: int, stop: int, kind: str) -> Entity:
        start, end = int(self.spans[first, 0]), int(self.spans[stop - 1, 1])
        probability = float(self.probabilities[first:stop].min())
        return Entity(self.text[start:end], kind, start, end, probability)


class Tag(Task):
    """Words with tags of entities, measured as the CoNLL shared tasks do."""

    name = "tag"
    words = "finds names and other entities among the words of a text"
    metric = "f1"
    mode = "max"
    headlines = ("f1", "precision", "recall", "accuracy")
    inputs = (("tokens", "words", "text"),)
    is_nested = True
    judge = TagJudge()

    def load(self, request: Request) -> TaskSplits:
        """Read, check and split tagged sentences; see `load_sentences`."""
        return load_sentences(request)

    def find_own_parts(self, source: Any) -> dict[str, Any]:
        """Find a folder's files of sentences; see `Task`."""
        return find_sources(source, None, None, SUFFIXES)[0]

    def read_records(
        self, path: Path, reading: Mapping[str, Any]
    ) -> list[dict[str, Any]] | None:
        """Read the sentences of a CoNLL file."""
        if path.suffix.lower() not in CONLL_SUFFIXES:
            return None
        sentences, _, _ = read_sentences(path, reading=reading)
        tags = sentences.tags
        if tags is None:
            return [{"tokens": words} for words in sentences.words]
        rows = zip(sentences.words, tags, strict=True)
        return [{"tokens": words, "tags": own} for words, own in rows]

    def build(
        self,
        preset: "Preset",
        label_names: Sequence[str],
        *,
        dropout: float = 0.1,
        max_length: int | None = None,
        precision: Any = "auto",
        **options: Any,
    ) -> "Model":
        """Put a softmax over the tags on every token of an encoder; see `Task`.

        A sentence longer than `max_length` is trained and predicted in windows.
        """
        import keras

        from kbert.engine.layers import build_initializer
        from kbert.tasks.windows import encode_tokens, finish_model, refuse_options

        refuse_options(self.name, options)
        backbone, tokens = encode_tokens(preset, precision)
        tokens = keras.layers.Dropout(dropout, name="head_dropout")(tokens)
        outputs = keras.layers.Dense(
            len(label_names),
            activation="softmax",
            kernel_initializer=build_initializer(),
            name="probabilities",
        )(tokens)
        model = finish_model(self.name, preset, backbone, outputs, max_length)
        model.label_names = tuple(label_names)
        return model

    def encode(self, preset: "Preset", part: Sentences, max_length: int) -> "Encoded":
        """Tokenize a part word by word, to count its tokens."""
        from kbert.tasks.words import encode_words
        from kbert.text import Preprocessor

        preprocessor = Preprocessor(preset.tokenizer, max_length=max_length)
        return encode_words(part.words, preprocessor).encoded

    def compile(self, model: "Model", optimizer: "keras.optimizers.Optimizer") -> None:
        """Compile with the mean cross-entropy of words, entity F1 and word accuracy."""
        import keras

        from kbert.token_heads import EntityF1, WordAccuracy

        assert model.label_names is not None
        rules = build_tag_rules(model.label_names)
        model.compile(
            optimizer,
            keras.losses.SparseCategoricalCrossentropy(
                reduction="mean_with_sample_weight"
            ),
            weighted_metrics=[
                EntityF1(rules.type_ids, rules.starts, rules.ends),
                WordAccuracy(),
            ],
        )

    def feed(
        self, model: "Model", part: Sentences, batch_size: int, seed: int | None
    ) -> "WindowBatches":
        """Return batches of sentences, each padded to its longest; see `Task`."""
        from kbert.tasks.windows import WindowBatches
        from kbert.tasks.words import encode_words

        assert model.preprocessor is not None and part.labels is not None
        windows = encode_words(part.words, model.preprocessor)
        labels = np.concatenate(part.labels)
        return WindowBatches(windows.with_labels(labels), batch_size, seed)

    def predict(
        self, model: "Model", inputs: Any, *, batch_size: int = 32
    ) -> list[TaggedText]:
        """Tag every word.

        Args:
            model: trained.
            inputs: `Sentences`, or a list of texts or of lists of words. Texts are
                parted at white space, and marks at the edges of words from them.
            batch_size: sentences a batch.

        Returns:
            A tagged text an input.

        Raises:
            ValueError: an input is neither a text nor a list of words.
        """
        from kbert.tasks.words import encode_words

        sentences = inputs.words if isinstance(inputs, Sentences) else inputs
        if not len(sentences):
            return []
        located = [_locate(one, row) for row, one in enumerate(sentences)]
        words = [_take_words(text, spans) for text, spans in located]
        assert model.preprocessor is not None and model.label_names is not None
        windows = encode_words(words, model.preprocessor)
        labels, probabilities = _predict_words(model, windows, batch_size)
        ends = np.cumsum([len(one) for one in words])[:-1]
        return [
            TaggedText(*one, tags, sure, model.label_names)
            for one, tags, sure in zip(
                located,
                np.split(labels, ends),
                np.split(probabilities, ends),
                strict=True,
            )
        ]

    def measure(
        self,
        part: Sentences,
        predictions: Sequence[TaggedText],
        label_names: Sequence[str],
    ) -> dict[str, Any]:
        """Compare whole entities; see `kbert.evaluation.measure_entities`."""
        named = replace(part, label_names=tuple(label_names))
        assert named.labels is not None
        labels = np.concatenate(named.labels)
        found = np.concatenate([one.labels for one in predictions])
        return measure_entities(labels, found, part.offsets, label_names)

    def find_mistakes(
        self,
        part: Sentences,
        predictions: Sequence[TaggedText],
        label_names: Sequence[str],
        thresholds: Any = None,
    ) -> list[dict[str, Any]]:
        """Return sentences with wrong entities, the surest first."""
        named = replace(part, label_names=tuple(label_names))
        found: list[dict[str, Any]] = []
        for row, (one, labels) in enumerate(
            zip(predictions, named.labels or (), strict=True)
        ):
            right = replace(one, labels=labels)
            if [_key(e) for e in one.entities] != [_key(e) for e in right.entities]:
                wrong = one.labels != labels
                found.append(
                    {
                        "row": int(part.rows[row]),
                        "text": one.text,
                        "num_characters": len(one.text),
                        "label_name": _list_entities(right),
                        "predicted_name": _list_entities(one),
                        "probability": float(one.probabilities[wrong].max()),
                    }
                )
        found.sort(key=lambda one: -one["probability"])
        return found[:NUM_MISTAKES]

    def name_labels(self, part: Sentences, label_names: Sequence[str]) -> list[str]:
        """Return the tags of each sentence, joined by blanks."""
        return [" ".join(tags) for tags in part.tags or ()]

    def tabulate(
        self,
        model: "Model",
        inputs: Any,
        predictions: Sequence[TaggedText],
        thresholds: None = None,
    ) -> dict[str, list[Any]]:
        """Return the tags, joined by blanks, and the entities as dicts."""
        return {
            "tags": [" ".join(one.tags) for one in predictions],
            "entities": [[asdict(e) for e in one.entities] for one in predictions],
        }

    def find_column_types(self) -> "dict[str, pa.DataType]":
        """Return the type of entities, which a text may have none of."""
        import pyarrow as pa

        entity = {
            "text": pa.string(),
            "type": pa.string(),
            "start": pa.int64(),
            "end": pa.int64(),
            "probability": pa.float64(),
        }
        return {"entities": pa.list_(pa.struct(entity.items()))}


def _key(entity: Entity) -> tuple[int, int, str]:
    return entity.start, entity.end, entity.type


def _list_entities(one: TaggedText) -> str:
    return ", ".join(f"{e.text} ({e.type})" for e in one.entities) or "nothing"


def _locate(one: Any, row: int) -> tuple[str, np.ndarray]:
    """Return a text, and the first and past the last character of each word."""
    from kbert.tasks.words import split_words

    if isinstance(one, str):
        return one, split_words(one)
    if not isinstance(one, list | tuple) or not all(isinstance(w, str) for w in one):
        raise ValueError(
            f"input {row} must be a text or a list of words; received {one!r:.60}."
        )
    lengths = np.fromiter(map(len, one), np.int64, len(one))
    ends = np.cumsum(lengths + 1) - 1
    return " ".join(one), np.stack([ends - lengths, ends], axis=1)


def _take_words(text: str, spans: np.ndarray) -> list[str]:
    return [text[start:end] for start, end in spans.tolist()]


def _predict_words(
    model: "Model", windows: "WordWindows", batch_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the label and its probability of each word of all windows."""
    from kbert.tasks.windows import WindowBatches

    num_words = int(windows.words.max(initial=-1)) + 1
    labels = np.zeros(num_words, np.int32)
    probabilities = np.zeros(num_words, np.float32)
    for chosen, values in WindowBatches(windows, batch_size, None).predict(model):
        words, lengths = windows.take_words(chosen)
        inside = np.arange(values.shape[1]) < lengths[:, None]
        values = values[inside][words >= 0]
        labels[words[words >= 0]] = values.argmax(-1)
        probabilities[words[words >= 0]] = values.max(-1)
    return labels, probabilities


TASK = Tag()
