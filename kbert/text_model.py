"""A functional model that takes raw text where Keras takes arrays."""

import dataclasses
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import keras
import numpy as np
import torch

from kbert.batches import (
    SortedBatches,
    TextRows,
    TrainingBatches,
    compute_balanced_class_weight,
    map_loader,
    read_rows,
    report_truncation,
)
from kbert.engine.lean import without_tensorflow
from kbert.engine.model import EngineModel
from kbert.text import Preprocessor, Tokenizer

# A newer file format than this one cannot be read.
FILE_FORMAT = 1
# Texts of a stream that are tokenized, sorted and predicted at a time.
_WINDOW_ROWS = 8192
_TOKENIZER_FILE = "tokenizer.json"
_EVALUATION_BATCH_SIZE = 32


@keras.saving.register_keras_serializable(package="kbert")
class Model(EngineModel):
    """A functional Keras model of texts.

    It is `keras.Model(inputs, outputs)` with three additions: encoders and the
    training step run on kbert's engine; `fit`, `evaluate` and `predict` take raw texts
    where a `preprocessor` is set; and a saved file holds the text handling.

    Args:
        inputs: of the functional graph, such as `backbone.input`.
        outputs: of the functional graph.
        name: of the model.
        **kwargs: `keras.Model`'s other arguments.

    Attributes:
        preprocessor: `kbert.Preprocessor` that turns texts into the graph's inputs,
            or `None` for a model of arrays.
        label_names: names of the label ids, or `None`.
    """

    def __init__(self, inputs, outputs, name=None, **kwargs):
        super().__init__(inputs, outputs, name=name, **kwargs)
        self.preprocessor: Preprocessor | None = None
        self.label_names: tuple[str, ...] | None = None
        self._preprocessor_config: dict[str, Any] | None = None

    @property
    def backbone(self):
        """The encoder, when there is exactly one.

        Raises:
            ValueError: the graph has no encoder, or several.
        """
        backbones = self.backbones
        if len(backbones) != 1:
            raise ValueError(
                f"the model has {len(backbones)} backbones; name one with get_layer."
            )
        return backbones[0]

    def fit(
        self,
        x=None,
        y=None,
        batch_size=None,
        epochs=1,
        verbose="auto",
        callbacks=None,
        validation_split=0.0,
        validation_data=None,
        shuffle=True,
        class_weight=None,
        sample_weight=None,
        **kwargs,
    ):
        """Train; `keras.Model.fit` with texts and class weights for every kind of data.

        Args:
            x: a `Split`, texts, text pairs, (texts, labels), token arrays, a
                `keras.utils.PyDataset`, a torch `DataLoader` or a `datasets.Dataset`
                with the columns `text` and `label`.
            y: labels, ids or names, when `x` does not hold them.
            batch_size: texts a step, 32 unless told.
            epochs: passes over the data, counted from 0 also when training resumes.
            verbose: as in Keras.
            callbacks: as in Keras.
            validation_split: share of the rows, the last ones, to validate on.
            validation_data: what `x` can be, or (x, y) or (x, y, sample_weight).
            shuffle: whether the order of the rows changes every epoch; it follows
                `kbert.set_seed`.
            class_weight: `balanced`, or a dict with a weight for every label id.
            sample_weight: one weight a row.
            **kwargs: `keras.Model.fit`'s other arguments.

        Returns:
            Keras's `History`.

        Raises:
            ValueError: the data do not fit the model; the sentence says how.
        """
        seed = int(np.random.randint(2**31 - 1))
        rows = self._read_rows(x, y, sample_weight)
        if rows is not None and validation_split and validation_data is None:
            cut = int(len(rows) * (1 - validation_split))
            rows, validation_data = rows.take(slice(cut)), rows.take(slice(cut, None))
            validation_split = 0.0
        order = seed if shuffle else None
        if rows is not None:
            weights = self._complete_class_weight(class_weight, rows.labels)
            x = TrainingBatches(
                rows.weigh(weights), self.preprocessor, batch_size or 32, order
            )
            y = sample_weight = class_weight = None
            shuffle = False
        else:
            class_weight = self._complete_class_weight(class_weight, y)
            if _is_loader(x):
                x, class_weight = map_loader(x, self.preprocessor, class_weight), None
        self._tolerates_nan = _has_nan_callback(callbacks)
        return super().fit(
            x=x,
            y=y,
            batch_size=None if _is_loader(x) else batch_size,
            epochs=epochs,
            verbose=verbose,
            callbacks=_prepend(_FollowSeed(seed, x), callbacks),
            validation_split=validation_split,
            validation_data=self._prepare_validation(validation_data, batch_size),
            shuffle=shuffle,
            class_weight=class_weight,
            sample_weight=sample_weight,
            **kwargs,
        )

    def evaluate(
        self, x=None, y=None, batch_size=None, verbose="auto", sample_weight=None, **kw
    ):
        """Evaluate; `keras.Model.evaluate` with texts, in batches of like length.

        Args:
            x: what `fit` takes.
            y: labels, ids or names.
            batch_size: texts a batch, 32 unless told.
            verbose: as in Keras.
            sample_weight: one weight a row.
            **kw: `keras.Model.evaluate`'s other arguments.

        Returns:
            What Keras returns.
        """
        rows = self._read_rows(x, y, sample_weight)
        if rows is not None:
            x = self._sort(rows, batch_size)
            y = sample_weight = batch_size = None
        elif _is_loader(x):
            x, batch_size = map_loader(x, self.preprocessor, None), None
        return super().evaluate(
            x=x,
            y=y,
            batch_size=batch_size,
            verbose=verbose,
            sample_weight=sample_weight,
            **kw,
        )

    def predict(self, x, batch_size=None, verbose=0, steps=None, callbacks=None):
        """Predict; `keras.Model.predict` with texts, in the caller's order.

        Args:
            x: a `Split`, texts, text pairs, token arrays, a loader, or a generator of
                texts or pairs, which is read and predicted a window at a time.
            batch_size: texts a batch, 32 unless told.
            verbose: as in Keras, but silent unless told.
            steps: as in Keras.
            callbacks: as in Keras.

        Returns:
            What the last layer shows, float32, one row a text.
        """
        if isinstance(x, Iterator) and self.preprocessor is not None:
            return self._predict_stream(x, batch_size, verbose, callbacks)
        rows = self._read_rows(x, None, None, labelled=False)
        if rows is None:
            if _is_loader(x):
                x = map_loader(x, self.preprocessor, None)
            return super().predict(x, batch_size, verbose, steps, callbacks)
        batches = self._sort(rows, batch_size)
        outputs = super().predict(batches, None, verbose, steps, callbacks)
        return keras.tree.map_structure(
            lambda output: _restore_order(output, batches.order), outputs
        )

    def _predict_stream(self, texts, batch_size, verbose, callbacks):
        windows = []
        while window := list(islice(texts, _WINDOW_ROWS)):
            windows.append(self.predict(window, batch_size, verbose, None, callbacks))
        if not windows:
            raise ValueError("there is nothing to predict: the iterator is empty.")
        return keras.tree.map_structure(lambda *parts: np.concatenate(parts), *windows)

    def _read_rows(self, x, y, weights, labelled=True) -> TextRows | None:
        rows = x if isinstance(x, TextRows) else read_rows(x, y, weights)
        if rows is None:
            return None
        if self.preprocessor is None:
            raise ValueError(
                "the model has no preprocessor, so it cannot take texts. Set "
                "model.preprocessor, or build it with kbert.build_classifier."
            )
        if len(rows) == 0:
            raise ValueError("there are no texts; pass at least one.")
        if not labelled:
            return rows.without_labels()
        if rows.labels is None:
            raise ValueError("the texts have no labels; pass y or a labelled split.")
        return rows.with_label_ids(self.label_names)

    def _complete_class_weight(self, class_weight, labels):
        if class_weight is None:
            return None
        num_classes = self.output_shape[-1]
        if class_weight == "balanced":
            if labels is None:
                raise ValueError(
                    "class_weight='balanced' needs all labels at hand, which a loader "
                    "does not have; pass a dict of label id to weight."
                )
            return compute_balanced_class_weight(labels, num_classes)
        if not isinstance(class_weight, Mapping) or set(class_weight) != set(
            range(num_classes)
        ):
            raise ValueError(
                "class_weight must be 'balanced' or a dict with a weight for every "
                f"label id in [0, {num_classes}); received {class_weight!r}."
            )
        return dict(class_weight)

    def _prepare_validation(self, data, batch_size):
        if data is None or isinstance(data, SortedBatches):
            return data
        x, y, weights = data if isinstance(data, tuple) and len(data) == 3 else (
            (*data, None) if isinstance(data, tuple) and len(data) == 2
            else (data, None, None)
        )
        rows = self._read_rows(x, y, weights)
        if rows is not None:
            return self._sort(rows, batch_size)
        if _is_loader(x):
            return map_loader(x, self.preprocessor, None)
        return data

    def _sort(self, rows: TextRows, batch_size: int | None) -> SortedBatches:
        assert self.preprocessor is not None
        size = batch_size or _EVALUATION_BATCH_SIZE
        batches = SortedBatches(rows, self.preprocessor, size)
        report_truncation(batches.encoded)
        return batches

    def save(self, filepath, overwrite=True, zipped=None, **kwargs):
        """Save to one `.keras` file, text handling included, whole or not at all.

        Args:
            filepath: ends in `.keras`.
            overwrite: whether an existing file may be replaced.
            zipped: as in Keras.
            **kwargs: as in Keras.

        Raises:
            OSError: the file cannot be written; what was there before is untouched.
        """
        path = Path(filepath)
        if path.suffix != ".keras" or zipped is False or path.is_dir():
            return super().save(filepath, overwrite=overwrite, zipped=zipped, **kwargs)
        if path.exists() and not overwrite:
            raise FileExistsError(
                f"{path} exists; pass overwrite=True or choose another file."
            )
        handle, temporary = tempfile.mkstemp(".keras", f".{path.stem}-", path.parent)
        os.close(handle)
        try:
            with without_tensorflow():
                super().save(temporary, overwrite=True, **kwargs)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise

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
        model._preprocessor_config = own.get("preprocessor")
        return model


class _FollowSeed(keras.callbacks.Callback):
    """Ties each epoch's order and dropout to the seed and the epoch's number.

    A run that was killed and resumes at an epoch then goes on as it would have.
    """

    def __init__(self, seed: int, batches: Any):
        super().__init__()
        self._seed = seed
        self._batches = batches if isinstance(batches, TrainingBatches) else None

    def on_epoch_begin(self, epoch: int, logs=None) -> None:
        if self._batches is not None:
            self._batches.start_epoch(epoch)
        states = np.random.SeedSequence((self._seed, epoch))
        for generator in _find_seed_generators(self.model):
            state = generator.state
            state.assign(states.spawn(1)[0].generate_state(2, "uint32") & 0x7FFFFFFF)


def _find_seed_generators(model: keras.Model) -> list[keras.random.SeedGenerator]:
    layers = [model, *model._flatten_layers(include_self=False)]
    return [generator for layer in layers for generator in layer._seed_generators]


def _prepend(callback, callbacks):
    if isinstance(callbacks, keras.callbacks.CallbackList):
        callback.set_model(callbacks.model)
        callbacks.callbacks.insert(0, callback)
        return callbacks
    if callbacks is None:
        return [callback]
    several = isinstance(callbacks, Iterable)
    return [callback, *(callbacks if several else [callbacks])]


def _has_nan_callback(callbacks) -> bool:
    found = getattr(callbacks, "callbacks", callbacks) or []
    found = found if isinstance(found, Iterable) else [found]
    return any(isinstance(one, keras.callbacks.TerminateOnNaN) for one in found)


def _is_loader(x: Any) -> bool:
    return isinstance(x, (keras.utils.PyDataset, torch.utils.data.DataLoader))


def _restore_order(output: np.ndarray, order: np.ndarray) -> np.ndarray:
    restored = np.empty_like(output)
    restored[order] = output
    return restored
