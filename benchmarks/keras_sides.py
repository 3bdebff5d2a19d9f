"""Sides that train through `keras.Model.fit`: kbert's, and stock KerasHub's."""

import time

import numpy as np

from benchmarks.encoders import HEAD, fill_preset
from benchmarks.tasks import (
    CLIP,
    EPSILON,
    LEARNING_RATE,
    WEIGHT_DECAY,
    StepClock,
    Task,
    TrainingRun,
    encode_windows,
)
from kbert.tasks.windows import WindowBatches

LOSS = "sparse_categorical_crossentropy"


class _FitSide:
    """What both have in common: start from the weights, compile, fit, time."""

    def __init__(self, task: Task, model):
        self.task, self.model = task, model

    def train(self, rows: np.ndarray, num_warmup: int) -> TrainingRun:
        """Train on the rows in their order; see `tasks.Side`."""
        assign_weights(self.model, self.task.weights)
        self.compile(self.build_optimizer())
        num_steps = len(rows) // self.task.batch_size
        clock = StepClock(num_warmup, num_steps, self.task.device)
        started = time.perf_counter()
        inputs, labels, seconds_a_row = self.prepare(rows)
        history = self.model.fit(
            inputs,
            labels,
            batch_size=self.task.batch_size,
            shuffle=False,  # the rows already come in a random order
            verbose=0,
            callbacks=[build_callback(clock)],
        )
        whole = time.perf_counter() - started
        timed = len(rows) - num_warmup * self.task.batch_size
        seconds = clock.seconds + timed * seconds_a_row
        return TrainingRun(seconds, whole, float(history.history["loss"][0]))


class KbertSide(_FitSide):
    """kbert as its users have it: texts into `fit`, every default as it is."""

    name = "kbert"

    def __init__(self, task: Task):
        super().__init__(task, build_kbert(task))
        dtype = self.model.backbone.compute_precision
        self.settings = {"precision": str(dtype).removeprefix("torch.")}

    def prepare(self, rows):
        """Return texts and labels; the third value is what tokenizing takes a row.

        kbert tokenizes ahead, texts by the thousand and windows all at once, so that in
        a short run it is done before the clock starts.
        """
        workload = self.task.workload
        started = time.perf_counter()
        if workload.part is None:
            chosen = workload.select(rows)
            self.model.preprocessor.encode(chosen.texts, chosen.text_pairs)
            seconds = (time.perf_counter() - started) / len(rows)
            return workload.take(rows), workload.labels[rows], seconds
        windows = encode_windows(self.task, self.model)
        seconds = (time.perf_counter() - started) / len(windows)
        return _GivenBatches(windows, self.task.batch_size, rows), None, seconds

    def compile(self, optimizer):
        """Compile with the task's loss alone."""
        compile_kbert(self.task, self.model, optimizer)

    def build_optimizer(self):
        """Return kbert's AdamW."""
        import kbert

        return kbert.adamw(
            LEARNING_RATE,
            weight_decay=WEIGHT_DECAY,
            epsilon=EPSILON,
            global_clipnorm=CLIP,
        )

    def predict(self, rows):
        """Return the model's outputs; see `tasks.Side`."""
        if self.task.windows is not None:
            return self.model.predict_on_batch(self.task.encoded[rows].pad())
        texts = self.task.workload.take(rows)
        return self.model.predict(texts, batch_size=self.task.batch_size)


class _GivenBatches(WindowBatches):
    """Batches of windows in an order that is given."""

    def __init__(self, windows, batch_size: int, rows: np.ndarray):
        self._given = rows
        super().__init__(windows, batch_size, seed=0)

    def __len__(self) -> int:
        return len(self._given) // self._batch_size

    def start_epoch(self, epoch: int) -> None:
        """Keep the order, whatever the epoch."""
        super().start_epoch(epoch)
        self.order = self._given


class StockKerasSide(_FitSide):
    """KerasHub's backbone under Keras's own training loop, padded."""

    name = "keras"
    settings = {"precision": "float32", "padding": "max_length"}

    def __init__(self, task: Task):
        super().__init__(task, build_stock_keras(task))

    def prepare(self, rows):
        """Return token ids, padded before the clock starts, and labels."""
        arrays = self.task.encoded[rows].pad(self.task.max_length)
        return arrays, self.task.workload.labels[rows], 0.0

    def compile(self, optimizer):
        """Compile with the same loss."""
        is_score = self.task.workload.kind == "regress"
        self.model.compile(optimizer, "mean_squared_error" if is_score else LOSS)

    def build_optimizer(self):
        """Return Keras's AdamW with the same settings."""
        import keras

        optimizer = keras.optimizers.AdamW(
            LEARNING_RATE,
            weight_decay=WEIGHT_DECAY,
            epsilon=EPSILON,
            global_clipnorm=CLIP,
        )
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
        return optimizer

    def predict(self, rows):
        """Return the model's outputs; see `tasks.Side`."""
        inputs = self.task.encoded[rows].pad()
        size = self.task.batch_size
        return self.model.predict(inputs, batch_size=size, verbose=0)


def build_kbert(task: Task, *, pooling: str = "pooler", head: str = "linear"):
    """Build kbert's model of the task with the task's weights.

    Args:
        task: what to run.
        pooling: what a head on whole texts reads.
        head: of a classifier.
    """
    workload = task.workload
    options = {}
    if workload.part is None:
        options = {"pooling": pooling, "clean": workload.clean}
    if workload.kind == "classify":
        options |= {"num_classes": workload.num_classes, "head": head}
    model = task.problem.task.build(
        fill_preset(task.preset, task.weights),
        workload.label_names or None,
        dropout=task.problem.dropout,
        max_length=task.max_length,
        precision=task.precision,
        **options,
    )
    assign_weights(model, task.weights)
    return model


def compile_kbert(task: Task, model, optimizer) -> None:
    """Compile with the task's loss; its metrics cost time, and nobody else has them."""
    named = task.stand_in()
    # A second `compile` would keep the metrics of the first.
    named.compile = lambda optimizer, loss, **metrics: model.compile(optimizer, loss)
    task.problem.task.compile(named, optimizer)


def build_stock_keras(task: Task, *, pooling: str = "pooler", head: str = "linear"):
    """Build the classifier of KerasHub's own layers with the task's weights."""
    import keras

    backbone = build_stock_backbone(task.preset.config)
    outputs = backbone(backbone.input)
    features = outputs["pooled_output"]
    if pooling == "mean":
        features = keras.layers.GlobalAveragePooling1D()(
            outputs["sequence_output"], mask=backbone.input["padding_mask"]
        )
    if head == "mlp":
        features = keras.layers.Dense(512, activation="relu")(features)
    features = keras.layers.Dropout(task.problem.dropout)(features)
    activation = None if task.workload.kind == "regress" else "softmax"
    outputs = keras.layers.Dense(task.workload.num_classes, activation=activation)
    model = keras.Model(backbone.input, outputs(features))
    assign_weights(model, task.weights)
    return model


def build_stock_backbone(config):
    """Build KerasHub's BERT encoder of a shape."""
    import keras_hub

    return keras_hub.models.BertBackbone(
        vocabulary_size=config.vocabulary_size,
        num_layers=config.num_layers,
        num_heads=config.num_heads,
        hidden_dim=config.hidden_dim,
        intermediate_dim=config.intermediate_dim,
        dropout=config.dropout,
        max_sequence_length=config.max_sequence_length,
    )


def assign_weights(model, weights: dict[str, np.ndarray]) -> None:
    """Give a model the encoder's weights by their paths, and a linear head's.

    Raises:
        ValueError: a weight of the encoder has no place in the model.
    """
    paths = {path: value for path, value in weights.items() if path not in HEAD}
    backbone = next(layer for layer in model.layers if hasattr(layer, "pooled_dense"))
    for variable in backbone.weights:
        if variable.path in paths:
            variable.assign(paths.pop(variable.path))
    if paths:
        raise ValueError(f"the model has no weight {next(iter(paths))!r}.")
    head = [layer for layer in model.layers if layer.weights][-1]
    for variable, path in zip(head.weights, HEAD, strict=True):
        if variable.shape == weights[path].shape:
            variable.assign(weights[path])


def build_callback(clock: StepClock):
    import keras

    return keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: clock.finish_step(batch + 1)
    )
