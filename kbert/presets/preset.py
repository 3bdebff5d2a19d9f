"""What a loaded preset is, and the one error that says why there is none."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from kbert.engine.config import EncoderConfig
from kbert.presets.arrays import StoredArray
from kbert.presets.errors import PresetError
from kbert.tokenizer import Tokenizer

__all__ = ["Pooling", "Preset", "PresetError"]

Pooling = Literal["pooler", "cls", "mean"]


@dataclass(frozen=True)
class Preset:
    """An encoder that can be built: its shape, its vocabulary and its weights.

    Args:
        name: canonical name, `hf://...` or folder.
        source: where the weights come from, in words.
        config: shape and mathematics of the encoder.
        pooling: what the checkpoint was trained to be read with: `pooler`, `cls`
            (first token) or `mean` (over tokens).
        tokenizer: texts to token ids.
        variables: weights as they lie on disk, by variable path; read by
            `load_weights`.
    """

    name: str
    source: str
    config: EncoderConfig
    pooling: Pooling
    tokenizer: Tokenizer = field(repr=False)
    variables: Mapping[str, StoredArray] = field(repr=False, compare=False)

    def load_weights(self) -> dict[str, np.ndarray]:
        """Read the weights from disk.

        Returns:
            float32 arrays by variable path, in the layout that
            `kbert.presets.variables` lists. A BERT checkpoint that was saved without a
            pooler lacks `pooled_dense/kernel` and `pooled_dense/bias`: the caller
            initialises them (such a preset's `pooling` is never `pooler`).

        Raises:
            PresetError: a file is gone or damaged.
        """
        return {path: array.read() for path, array in self.variables.items()}

    def read_weight(self, path: str) -> np.ndarray | None:
        """Read one variable's values from disk, or `None` where there are none.

        Raises:
            PresetError: a file is gone or damaged.
        """
        array = self.variables.get(path)
        return None if array is None else array.read()
