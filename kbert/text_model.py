"""A functional model that takes raw text where Keras takes arrays."""

import contextlib
import logging
from collections.abc import Iterator
from itertools import islice
from typing import Any

import keras
import numpy as np
from torch.utils.data import DataLoader

from kbert.batches import (
    FeatureBatches,
    FollowSeed,
    OrderedBatches,
    SortedBatches,
    TrainingBatches,
    check_batch_size,
    has_nan_callback,
    prepend,
    report_truncation,
    restore_order,
    unpack,
)
from kbert.engine.features import (
    SplitModel,
    collect_features,
    encode_arrays,
    split_at_features,
)
from kbert.engine.model import EngineModel
from kbert.loaders import is_loader, map_loader, read_labels
from kbert.rounding import look_ahead, say_difference, show_results
from kbert.rows import (
    Columns,
    TextRows,
    check_label_ids,
    check_texts,
    complete_class_weight,
    cut_last,
    find_cut,
    name_to_id,
    read_rows,
    weigh,
)
from kbert.saved_model import SavedModel

# Texts of a stream that are tokenized, sorted and predicted at a time.
_WINDOW_ROWS = 8192
_logger = logging.getLogger("kbert")


@keras.saving.register_keras_serializable(package="kbert")
class Model(SavedModel):
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
        task: name of the `kbert.tasks` task that the model was built for, or `None`.
        metadata: JSON values that are saved with the model, such as thresholds.
    """

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
        check_batch_size(batch_size)
        seed = int(np.random.randint(2**31 - 1))
        rows = self._read_rows(x, y, sample_weight)
        split = validation_split if validation_data is None else 0.0
        if rows is not None and split:
            cut = find_cut(len(rows), split)
            rows, validation_data = rows.take(slice(cut)), rows.take(slice(cut, None))
            split = 0.0
        elif split and class_weight is not None and not is_loader(x):
            # Cut here, or class weights would count in the validation loss.
            kept, validation_data = cut_last((x, y, sample_weight), split)
            x, y, sample_weight = kept
            split = 0.0
        parts = split_at_features(self, EngineModel)
        if rows is None:
            x, y, sample_weight = self._weigh(x, y, sample_weight, class_weight)
            x, parts = encode_arrays(x, parts, epochs)
        else:
            rows = rows.weigh(self._complete_class_weight(class_weight, rows.labels))
            x = self._feed(rows, parts, batch_size, seed if shuffle else None)
            y = sample_weight = None
        size = kwargs.get("validation_batch_size")
        validation_data = self._prepare_validation(
            validation_data,
            parts,
            batch_size if size is None else size,
            kwargs.get("validation_steps"),
        )
        self._tolerates_nan = has_nan_callback(callbacks)
        self._head = parts.head if parts else None
        try:
            return super().fit(
                x=x,
                y=y,
                batch_size=None if is_loader(x) else batch_size,
                epochs=epochs,
                verbose=verbose,
                callbacks=self._list_callbacks(
                    prepend(FollowSeed(seed, x), callbacks),
                    (x, batch_size, kwargs.get("steps_per_epoch"), split),
                    {"epochs": epochs, "verbose": verbose},
                ),
                validation_split=split,
                validation_data=validation_data,
                shuffle=shuffle and rows is None and not isinstance(x, DataLoader),
                sample_weight=sample_weight,
                **kwargs,
            )
        finally:
            self._head = None

    def evaluate(
        self,
        x=None,
        y=None,
        batch_size=None,
        verbose="auto",
        sample_weight=None,
        quantize=None,
        **kw,
    ):
        """Evaluate; `keras.Model.evaluate` with texts, in batches of like length.

        Args:
            x: what `fit` takes.
            y: labels, ids or names.
            batch_size: texts a batch, 32 unless told.
            verbose: as in Keras.
            sample_weight: one weight a row.
            quantize: `int8` multiplies in 8 bits on a CPU, and says what that changes.
            **kw: `keras.Model.evaluate`'s other arguments.

        Returns:
            What Keras returns.
        """
        if not self.compiled:
            raise ValueError(
                "the model is not compiled, so it has no loss to evaluate; call "
                "model.compile(loss=..., metrics=[...]) first."
            )
        check_batch_size(batch_size)
        if quantize is not None:
            arguments = (x, y, batch_size, verbose, sample_weight)
            exact = self.evaluate(*arguments, **kw)
            with self._quantize(quantize):
                rounded = self.evaluate(*arguments, **kw)
            _logger.warning(
                "in int8: %s; exact: %s", show_results(rounded), show_results(exact)
            )
            return rounded
        rows = self._read_rows(x, y, sample_weight)
        if rows is not None:
            x = self._sort(rows, batch_size, kw.get("steps"))
            y = sample_weight = batch_size = None
        elif is_loader(x):
            if not isinstance(x, (SortedBatches, FeatureBatches)):
                x = self._map(x)
            batch_size = None
        else:
            y = name_to_id(y, self.label_names)
        return super().evaluate(
            x=x,
            y=y,
            batch_size=batch_size,
            verbose=verbose,
            sample_weight=sample_weight,
            **kw,
        )

    def predict(
        self,
        x,
        batch_size=None,
        verbose=0,
        steps=None,
        callbacks=None,
        quantize=None,
    ):
        """Predict; `keras.Model.predict` with texts, in the caller's order.

        Args:
            x: a `Split`, texts, text pairs, token arrays, a loader, or a generator of
                texts or pairs, which is read and predicted a window at a time.
            batch_size: texts a batch, 32 unless told.
            verbose: as in Keras, but silent unless told.
            steps: as in Keras.
            callbacks: as in Keras.
            quantize: `int8` multiplies in 8 bits on a CPU, and says how many of the
                first texts are labelled as before. `evaluate` says what that costs.

        Returns:
            What the last layer shows, float32, one row a text.
        """
        check_batch_size(batch_size)
        if quantize is not None:
            return self._predict_quantized(
                x, quantize, batch_size, verbose, steps, callbacks
            )
        if isinstance(x, Iterator) and self.preprocessor is not None:
            return self._predict_stream(x, batch_size, verbose, callbacks)
        rows = self._read_rows(x, None, None, labelled=False)
        if rows is None:
            if is_loader(x):
                x = map_loader(x, self.preprocessor, device=self._device)
            return super().predict(x, batch_size, verbose, steps, callbacks)
        batches = self._sort(rows, batch_size, steps)
        outputs = super().predict(batches, None, verbose, steps, callbacks)
        return keras.tree.map_structure(
            lambda output: restore_order(output, batches.order), outputs
        )

    def _quantize(self, quantize: str):
        if quantize != "int8":
            raise ValueError(f"quantize must be 'int8' or None; received {quantize!r}.")
        blocks = contextlib.ExitStack()
        for backbone in self.backbones:
            blocks.enter_context(backbone.in_int8())
        return blocks

    def _predict_quantized(self, x, quantize, *arguments):
        first, x = look_ahead(x, self.preprocessor is not None)
        with self._quantize(quantize):
            rounded = self.predict(x, *arguments)
        exact = None if first is None else self.predict(first, *arguments)
        say_difference(rounded, exact, self.output_names)
        return rounded

    def _predict_stream(self, texts, batch_size, verbose, callbacks):
        arguments = batch_size, verbose, None, callbacks
        windows: list[Any] = []
        while window := list(islice(texts, _WINDOW_ROWS)):
            check_texts(window, first_row=len(windows) * _WINDOW_ROWS)
            windows.append(self.predict(window, *arguments))
        if not windows:
            raise ValueError("there is nothing to predict: the iterator is empty.")
        return keras.tree.map_structure(lambda *parts: np.concatenate(parts), *windows)

    def _read_rows(self, x, y, weights, labelled=True) -> TextRows | None:
        y = tuple(y) if isinstance(y, list) and len(self.outputs) > 1 else y
        columns: Columns = None if labelled else "tuple"
        rows = x if isinstance(x, TextRows) else read_rows(x, y, weights, columns)
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
        rows = rows.with_label_ids(self.label_names)
        # One number a text beside several outputs is the id of one of them.
        if len(self.outputs) == 1 and rows.labels.ndim == 1:
            if len(self.output_shape) == 2 and self.output_shape[-1] > 1:
                check_label_ids(rows.labels, self.output_shape[-1])
        return rows

    def _map(self, loader, class_weight=None):
        fixed = self.label_names, self._device
        return map_loader(loader, self.preprocessor, class_weight, *fixed)

    def _weigh(self, x, y, sample_weight, class_weight):
        """Multiply class weights into what holds no texts, or texts in batches."""
        names = self.label_names
        if is_loader(x):
            labels = read_labels(x, names) if class_weight == "balanced" else None
            weights = self._complete_class_weight(class_weight, labels)
            return self._map(x, weights), y, sample_weight
        y = name_to_id(y, names)
        if class_weight is not None:
            if y is None:
                raise ValueError(
                    "class_weight needs labels; pass y, or a PyDataset or DataLoader."
                )
            weights = self._complete_class_weight(class_weight, y)
            sample_weight = weigh(np.asarray(y), weights, sample_weight)
        return x, y, sample_weight

    def _complete_class_weight(self, class_weight, labels):
        widths = [output.shape[-1] for output in self.outputs]
        return complete_class_weight(class_weight, labels, widths)

    def _feed(
        self, rows: TextRows, parts: SplitModel | None, batch_size, seed: int | None
    ) -> OrderedBatches:
        """Return batches of texts, or of a frozen encoder's features."""
        size = check_batch_size(batch_size)
        batches: OrderedBatches
        if parts is None:
            assert self.preprocessor is not None
            batches = TrainingBatches(rows, self.preprocessor, size, seed)
        else:
            features = self._compute_features(rows, parts)
            batches = FeatureBatches(features, rows, size, seed)
        batches.send_to(self._device)
        return batches

    def _compute_features(self, rows: TextRows, parts: SplitModel) -> np.ndarray:
        encoded = (
            (batch_rows, parts.encoder.predict_on_batch(batch[0]))
            for batch_rows, batch in self._sort(rows.without_labels(), None).with_rows()
        )
        return collect_features(encoded, len(rows), parts.encoder.output_shape[-1])

    def _prepare_validation(self, data, parts, batch_size, steps=None):
        if data is None:
            return None
        x, y, weights = unpack(data)
        rows = self._read_rows(x, y, weights)
        if rows is not None and parts is not None:
            return self._feed(rows, parts, batch_size, None)
        if rows is not None:
            return self._sort(rows, batch_size, steps)
        if is_loader(x):
            return self._map(x)
        x, _ = encode_arrays(x, parts)
        return x, name_to_id(y, self.label_names), weights

    def _sort(self, rows: TextRows, batch_size, steps=None) -> SortedBatches:
        assert self.preprocessor is not None
        size = check_batch_size(batch_size)
        # The first batches are the caller's first rows, not the longest.
        rows = rows.take(slice(steps * size)) if steps else rows
        batches = SortedBatches(rows, self.preprocessor, size, fills=steps is None)
        report_truncation(batches.encoded)
        batches.send_to(self._device)
        return batches
