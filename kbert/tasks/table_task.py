"""What tasks whose data are tables of texts have in common: reading, and the model."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from kbert.data import Split, Splits, load_split, load_splits
from kbert.data.values import Kind
from kbert.long_texts import LONG_TEXTS
from kbert.tasks.columns import complete
from kbert.tasks.task import TABLE_READINGS, Request, Task

if TYPE_CHECKING:
    from kbert.models import Model
    from kbert.presets import Preset


class TableTask(Task):
    """A text, or a pair of texts, a row; the model gives each a vector of numbers.

    Attributes:
        kind: of the labels, as `kbert.load_splits` takes it.
    """

    kind: ClassVar[Kind]
    has_columns = True
    long_texts = LONG_TEXTS
    readings: ClassVar[tuple[str, ...]] = TABLE_READINGS

    def load(self, request: Request) -> Splits:
        """Read texts and labels, check and split them; see `kbert.load_splits`."""
        request, _ = complete(request)
        return load_splits(
            request.source,
            validation=request.validation,
            test=request.test,
            seed=request.seed,
            limit=request.limit,
            **self._describe_table(request),
        )

    def read(self, request: Request) -> Split:
        """Read every row of one part, whatever labels it holds."""
        request, _ = complete(request)
        return load_split(request.source, **self._describe_table(request))

    def _describe_table(self, request: Request) -> dict[str, Any]:
        """Return what `load_splits` and `load_split` take alike."""
        return {
            "text": request.text or "text",
            "label": self._check_label(request.label),
            "text_pair": request.text_pair,
            "label_names": request.label_names,
            "kind": self.kind,
            **request.reading,
        }

    def _check_label(self, label: str | Sequence[str] | None) -> str | Sequence[str]:
        if self.kind == "several" or label is None or isinstance(label, str):
            return label or "label"
        raise ValueError(
            f"labels are in one column for this task; received the {len(label)} "
            f"columns {', '.join(label)}. Name one, or use the task multilabel."
        )

    @abstractmethod
    def describe_head(
        self, label_names: Sequence[str], dropout: float
    ) -> Mapping[str, Any]:
        """Say which head the model has.

        Args:
            label_names: as the splits have them.
            dropout: share of values dropped before the head.

        Returns:
            Arguments of `kbert.build_classifier`. The names of the head's layers are
            part of saved files.
        """

    def build(
        self,
        preset: "Preset",
        label_names: Sequence[str] = (),
        *,
        dropout: float = 0.1,
        max_length: int | None = None,
        precision: Any = "auto",
        **options: Any,
    ) -> "Model":
        """Put the head on one vector a text; see `Task`.

        Args:
            preset: see `kbert.load_preset`.
            label_names: as the splits have them.
            dropout: share of values dropped before the head.
            max_length: longest text, in tokens; `None`: the encoder's longest.
            precision: format of the matrix products.
            **options: further arguments of `kbert.build_classifier`.

        Returns:
            A model, not compiled.
        """
        from kbert.models import build_classifier

        model = build_classifier(
            preset,
            max_length=max_length,
            precision=precision,
            **self.describe_head(label_names, dropout),
            **options,
        )
        model.task = self.name
        return model

    def predict(
        self, model: "Model", inputs: Any, *, batch_size: int = 32
    ) -> np.ndarray:
        """Return a probability for each label, float32 (n, num_labels)."""
        return model.predict(inputs, batch_size=batch_size)
