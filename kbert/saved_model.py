"""A model whose file holds its text handling too."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from kbert.engine.lean import without_tensorflow
from kbert.engine.model import EngineModel
from kbert.text import Preprocessor, Tokenizer
from kbert.writing import replace_whole

# A newer file format than this one cannot be read.
FILE_FORMAT = 1
_TOKENIZER_FILE = "tokenizer.json"


class SavedModel(EngineModel):
    """A functional model that is saved whole, with its text handling, or not at all.

    Args:
        inputs: of the functional graph.
        outputs: of the functional graph.
        name: of the model.
        **kwargs: `keras.Model`'s other arguments.
    """

    def __init__(self, inputs, outputs, name=None, **kwargs):
        super().__init__(inputs, outputs, name=name, **kwargs)
        self.preprocessor: Preprocessor | None = None
        self.label_names: tuple[str, ...] | None = None
        self.task: str | None = None
        self.metadata: dict[str, Any] = {}
        self._preprocessor_config: dict[str, Any] | None = None

    def save(
        self,
        filepath,
        overwrite=True,
        zipped=None,
        include_optimizer: bool = True,
        **kwargs,
    ):
        """Save to one `.keras` file, text handling included, whole or not at all.

        Args:
            filepath: ends in `.keras`.
            overwrite: whether an existing file may be replaced.
            zipped: as in Keras.
            include_optimizer: whether training can go on from the file; without the
                optimizer's state it is a third as large.
            **kwargs: as in Keras.

        Raises:
            OSError: the file cannot be written; what was there before is untouched.
        """
        path = Path(filepath)
        if path.suffix != ".keras" or zipped is False or path.is_dir():
            return super().save(filepath, overwrite=overwrite, zipped=zipped, **kwargs)
        self.build_optimizer()
        optimizer = self.optimizer
        compiled = self.compiled  # type: ignore[has-type]
        if not include_optimizer:
            self.optimizer, self.compiled = None, False
        try:
            with replace_whole(path, overwrite) as temporary, without_tensorflow():
                super().save(temporary, overwrite=True, **kwargs)
        finally:
            self.optimizer, self.compiled = optimizer, compiled

    def save_assets(self, folder: str) -> None:
        """Write the tokenizer into the saved file."""
        if self.preprocessor is not None:
            tokenizer = dataclasses.asdict(self.preprocessor.tokenizer)
            text = json.dumps(tokenizer)
            Path(folder, _TOKENIZER_FILE).write_text(text, encoding="utf-8")

    def load_assets(self, folder: str) -> None:
        """Read the tokenizer back and make the preprocessor."""
        path = Path(folder, _TOKENIZER_FILE)
        if path.exists() and self._preprocessor_config is not None:
            tokenizer = Tokenizer(**json.loads(path.read_text(encoding="utf-8")))
            self.preprocessor = Preprocessor.from_config(
                self._preprocessor_config, tokenizer
            )

    def get_config(self):
        """Return the graph and the text handling, without the tokenizer."""
        preprocessor = self.preprocessor
        own = {
            "format": FILE_FORMAT,
            "label_names": list(self.label_names) if self.label_names else None,
            "task": self.task,
            "metadata": self.metadata,
            "preprocessor": preprocessor.get_config() if preprocessor else None,
        }
        return {**super().get_config(), "kbert": own}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """Build a model from the result of `get_config`.

        Raises:
            ValueError: the configuration was written by a newer kbert.
        """
        config = dict(config)
        own = config.pop("kbert", {})
        if own.get("format", FILE_FORMAT) > FILE_FORMAT:
            raise ValueError(
                f"the model has file format {own['format']}, and this kbert reads up "
                f"to {FILE_FORMAT}. Upgrade kbert to load it."
            )
        model = super().from_config(config, custom_objects)
        names = own.get("label_names")
        model.label_names = tuple(names) if names else None
        model.task = own.get("task")
        model.metadata = dict(own.get("metadata") or {})
        model._preprocessor_config = own.get("preprocessor")
        return model
