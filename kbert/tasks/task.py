"""What a task is: how labels are read, which head, which loss, which figures."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from kbert.data.folders import find_parts
from kbert.tasks.judge import Judge

if TYPE_CHECKING:
    import keras
    import pyarrow as pa

    from kbert.encoded import Encoded
    from kbert.models import Model
    from kbert.presets import Preset


# What of `reading` holds for any file like the training one; the rest is of the split.
LAYOUT = ("encoding", "columns", "delimiter", "quoting")
READ_ALIKE = (*LAYOUT, "separator")
TABLE_READINGS = (*LAYOUT, "stratify", "drop")
_READING = (*TABLE_READINGS, "separator")
NUM_MISTAKES = 20  # that a report shows
PAIRED = "paired"  # in a model's `metadata`: it was trained on pairs of texts


@dataclass(frozen=True, kw_only=True)
class Request:
    """What data to read, and which of its columns.

    Args:
        source: a path, or anything else that `kbert.load_splits` reads.
        text: column of the texts; `None`: found by the task.
        label: column of the labels, or several for 0/1 columns; `None`: found.
        text_pair: column of the second texts of pairs, or `None`.
        validation: share of the rows, or a source of its own.
        test: the same for the test part, or `None` for none.
        seed: of the split.
        limit: most rows to use of each source; `None`: all.
        label_names: names of the label ids, when a model has fixed them.
        reading: further arguments of `kbert.load_splits`, such as `delimiter`.
    """

    source: Any
    text: str | None = None
    label: str | Sequence[str] | None = None
    text_pair: str | None = None
    validation: Any = 0.15
    test: Any = None
    seed: int = 42
    limit: int | None = None
    label_names: Sequence[str] | None = None
    reading: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse an argument that no task reads: it would be ignored in silence."""
        for name in self.reading:
            if name not in _READING:
                raise TypeError(
                    f"there is no argument {name!r}; data are read with "
                    f"{', '.join(_READING)}."
                )

    @property
    def layout(self) -> dict[str, Any]:
        """What of `reading` says how a file is laid out."""
        return {k: v for k, v in self.reading.items() if k in LAYOUT}


class Task(ABC):
    """One kind of question that a model answers about texts.

    Parts of data (`splits.train`, ...) are what the task's own `load` makes: they have
    a length, `texts`, `labels`, `rows` (numbers in the source) and can be sliced.
    Predictions are what its own `predict` makes: a sequence with an item a text.

    Attributes:
        name: as `--task` takes it.
        words: what such a model does, as `--help` and reports say it.
        metric: name of the figure that the epoch to keep is chosen by, as the logs of
            `fit` have it on validation data (without `val_`).
        mode: `max` or `min`: which of its values is the best.
        metric_is_share: whether it is the share of the texts that are right, which so
            many texts tell only so well.
        headlines: figures of `measure` that sum a model up, the most important first.
        pictures: plots of predictions that its reports have; `kbert.report` draws them.
        balances: whether labels are classes, which `class_weight` can balance.
        has_columns: whether its data are tables, whose columns
            `kbert.tasks.columns` finds.
        long_texts: ways to read texts longer than the maximum that can be chosen.
        readings: arguments of `Request.reading` that its data are read with.
        judge: says how far to trust its models' predictions.
        inputs: names that the columns of a text have where none are named; of
            several parts those of each.
        is_nested: whether predictions hold lists, which a CSV file has no form for.
    """

    name: ClassVar[str]
    words: ClassVar[str]
    metric: ClassVar[str]
    mode: ClassVar[str]
    metric_is_share: ClassVar[bool] = False
    headlines: ClassVar[tuple[str, ...]] = ()
    pictures: ClassVar[tuple[str, ...]] = ()
    balances: ClassVar[bool] = False
    has_columns: ClassVar[bool] = False
    long_texts: ClassVar[tuple[str, ...]] = ()
    readings: ClassVar[tuple[str, ...]] = ("encoding",)
    judge: ClassVar[Judge]
    inputs: ClassVar[tuple[tuple[str, ...], ...]] = (("text",),)
    is_nested: ClassVar[bool] = False

    @abstractmethod
    def load(self, request: Request) -> Any:
        """Read, check and split data.

        Args:
            request: what to read.

        Returns:
            `kbert.Splits`, or what has its fields: `train`, `validation`, `test`,
            `label_names`, `findings`, `source`, `digest`, `parts`.

        Raises:
            ValueError: the data do not fit the task; the sentence says how.
        """

    def find_own_parts(self, source: Any) -> dict[str, Any]:
        """Find the parts that a source brings itself, such as a folder's files.

        Args:
            source: as in a request.

        Returns:
            Part name to its source; `train` at least.

        Raises:
            FileNotFoundError: a folder has no train file.
            ValueError: a mapping has no `train`.
        """
        return find_parts(source)

    def read(self, request: Request) -> Any:
        """Read one part whole, such as rows to evaluate a model on.

        Args:
            request: what to read, with the `label_names` of the model.

        Returns:
            A part, as `load` has them.

        Raises:
            ValueError: the data do not fit the task; the sentence says how.
        """
        return self.load(replace(request, validation=None, test=None)).train

    def read_records(
        self, path: Path, reading: Mapping[str, Any]
    ) -> list[dict[str, Any]] | None:
        """Read a file to predict that is no table.

        Args:
            path: of the file.
            reading: how to read it.

        Returns:
            A dict a row, with the columns of `inputs`; `None`: it is a table.

        Raises:
            ValueError: the file is damaged.
        """
        return None

    def encode(self, preset: "Preset", part: Any, max_length: int) -> "Encoded":
        """Tokenize a part, to find out how long its texts are.

        Args:
            preset: whose tokenizer counts.
            part: of the splits.
            max_length: longest text, in tokens.

        Returns:
            The rows, cut to `max_length`; they know their full lengths.
        """
        from kbert.text import Preprocessor

        preprocessor = Preprocessor(preset.tokenizer, max_length=max_length)
        return preprocessor.encode(part.texts, part.text_pairs)

    @abstractmethod
    def build(
        self,
        preset: "Preset",
        label_names: Sequence[str],
        *,
        dropout: float = 0.1,
        max_length: int | None = None,
        precision: str = "auto",
        **options: Any,
    ) -> "Model":
        """Put the task's head on an encoder.

        Args:
            preset: see `kbert.load_preset`.
            label_names: as the splits have them; empty for scores and answers.
            dropout: share of values dropped before the head.
            max_length: longest text, in tokens; `None`: the encoder's longest.
            precision: format of the matrix products.
            **options: of the task's own.

        Returns:
            A model, not compiled, whose `task` is this one's name.
        """

    @abstractmethod
    def compile(self, model: "Model", optimizer: "keras.optimizers.Optimizer") -> None:
        """Compile a model with the task's loss and the metrics of its logs.

        Args:
            model: as `build` made it.
            optimizer: any.
        """

    def prepare(self, model: "Model", train: Any) -> None:
        """Take from the training labels what the model has to know before it trains.

        Args:
            model: as `build` made it.
            train: part to train on.
        """
        return  # most tasks need nothing

    def finish(self, model: "Model") -> None:
        """Make a trained model whole, whatever it needed to train.

        Args:
            model: trained; its weights and `metadata` may change.
        """
        return  # most tasks need nothing

    def feed(self, model: "Model", part: Any, batch_size: int, seed: int | None) -> Any:
        """Return what `model.fit` takes for a part.

        Args:
            model: as `build` made it.
            part: of the splits.
            batch_size: rows a step.
            seed: of the order of the rows; `None`: the part's own order, to validate.

        Returns:
            The part itself, unless the task has batches of its own.
        """
        return part

    @abstractmethod
    def predict(self, model: "Model", inputs: Any, *, batch_size: int = 32) -> Any:
        """Predict a part, or raw inputs.

        Args:
            model: trained.
            inputs: a part of the splits, or a list of the task's raw inputs (texts,
                pairs, lists of words, or (question, context) pairs).
            batch_size: texts a batch.

        Returns:
            An item an input; for classes, labels and scores a float32 array.
        """

    @abstractmethod
    def measure(
        self, part: Any, predictions: Any, label_names: Sequence[str]
    ) -> dict[str, Any]:
        """Compare predictions with the labels of a part.

        Args:
            part: labelled rows.
            predictions: as `predict` returns them.
            label_names: names of the label ids.

        Returns:
            Figure name to `{"value", "low", "high"}` (95 % bootstrap intervals), and
            tables under other names, as `evaluation.compute_metrics` does.
        """

    def find_options(self, model: "Model") -> dict[str, Any]:
        """Find what those who measure a model have to know of it.

        Args:
            model: trained.

        Returns:
            Further arguments of `measure`, `find_mistakes`, `tabulate`, `decide` and
            the judge: none, or `thresholds`, a number for the second of two classes or
            a sequence with one for each label; `None` where there are none.
        """
        return {}

    def decide(self, predictions: Any, thresholds: Any = None) -> Any:
        """Choose what `tabulate` calls the label.

        Args:
            predictions: as `predict` returns them.
            thresholds: of the model; see `find_options`.

        Returns:
            Class ids, int64 (n,), or which labels a row has, bool (n, num_labels);
            what has no probabilities stays as it is.
        """
        return predictions

    def find_mistakes(
        self,
        part: Any,
        predictions: Any,
        label_names: Sequence[str],
        thresholds: Any = None,
    ) -> list[dict[str, Any]]:
        """Find the rows that a report shows among the mistakes.

        Args:
            part: labelled rows.
            predictions: as `predict` returns them.
            label_names: names of the label ids.
            thresholds: of the model; see `find_options`.

        Returns:
            Rows as `evaluation.find_mistakes` makes them; none unless the task does.
        """
        return []

    def name_labels(self, part: Any, label_names: Sequence[str]) -> list[Any]:
        """Write the labels of a part as `tabulate` writes predicted ones.

        Args:
            part: labelled rows.
            label_names: names of the label ids.

        Returns:
            A value a row; the names of label ids unless the task says otherwise.
        """
        return [label_names[label] for label in part.labels]

    @abstractmethod
    def tabulate(
        self, model: "Model", inputs: Any, predictions: Any, thresholds: Any = None
    ) -> dict[str, list[Any]]:
        """Make the columns that `kbert predict` adds to its input.

        Args:
            model: trained.
            inputs: what was predicted.
            predictions: as `predict` returns them.
            thresholds: of the model; see `find_options`.

        Returns:
            Column name to a value an input, such as `label` and `probability`.
        """

    def find_column_types(self) -> "dict[str, pa.DataType]":
        """Return types of columns of `tabulate` that some rows alone do not tell.

        Returns:
            Column name to its type, where every value may be `None` or an empty list.
        """
        return {}
