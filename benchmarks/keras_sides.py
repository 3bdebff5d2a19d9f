"""Sides that train through `keras.Model.fit`: kbert's, and stock KerasHub's."""

import time

import numpy as np

from benchmarks.encoders import HEAD
from benchmarks.tasks import (
    CLIP,
    DROPOUT,
    EPSILON,
    LEARNING_RATE,
    WEIGHT_DECAY,
    StepClock,
    Task,
    TrainingRun,
)

LOSS = "sparse_categorical_crossentropy"


class _FitSide:
    """What both have in common: start from the weights, compile, fit, time."""

    def __init__(self, task: Task, model):
        self.task, self.model = task, model

    def train(self, rows: np.ndarray, num_warmup: int) -> TrainingRun:
        """Train on the rows in their order; see `tasks.Side`."""
        assign_weights(self.model, self.task.weights)
        self.model.compile(self.build_optimizer(), LOSS)
        num_steps = len(rows) // self.task.batch_size
        clock = StepClock(num_warmup, num_steps, self.task.device)
        inputs, labels = self.prepare(rows), self.task.workload.labels[rows]
        started = time.perf_counter()
        history = self.model.fit(
            inputs,
            labels,
            batch_size=self.task.batch_size,
            shuffle=False,  # the rows already come in a random order
            verbose=0,
            callbacks=[build_callback(clock)],
        )
        whole = time.perf_counter() - started
        return TrainingRun(clock.seconds, whole, float(history.history["loss"][0]))


class KbertSide(_FitSide):
    """kbert as its users have it: texts into `fit`, every default as it is."""

    name = "kbert"

    def __init__(self, task: Task):
        super().__init__(task, build_kbert(task))
        dtype = self.model.backbone.compute_precision
        self.settings = {"precision": str(dtype).removeprefix("torch.")}

    def prepare(self, rows):
        """Return the texts: tokenizing them is within kbert's time."""
        return self.task.workload.take(rows)

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
        """Return probabilities."""
        texts = self.task.workload.take(rows)
        return self.model.predict(texts, batch_size=self.task.batch_size)


class StockKerasSide(_FitSide):
    """KerasHub's backbone under Keras's own training loop, padded."""

    name = "keras"
    settings = {"precision": "float32", "padding": "max_length"}

    def __init__(self, task: Task):
        super().__init__(task, build_stock_keras(task))

    def prepare(self, rows):
        """Return token ids, padded before the clock starts."""
        return self.task.encoded[rows].pad(self.task.max_length)

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
        """Return probabilities."""
        inputs = self.task.encoded[rows].pad()
        size = self.task.batch_size
        return self.model.predict(inputs, batch_size=size, verbose=0)


def build_kbert(task: Task, *, pooling: str = "pooler", head: str = "linear"):
    """Build kbert's classifier with the task's weights."""
    import kbert

    model = kbert.build_classifier(
        task.preset,
        num_classes=task.workload.num_classes,
        head=head,
        dropout=DROPOUT,
        pooling=pooling,
        max_length=task.max_length,
        clean=task.workload.clean,
        precision=task.precision,
        load_weights=False,
    )
    assign_weights(model, task.weights)
    return model


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
    features = keras.layers.Dropout(DROPOUT)(features)
    outputs = keras.layers.Dense(task.workload.num_classes, activation="softmax")
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
    """Give a classifier the encoder's weights by their paths, and a linear head's.

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
    for variable, path in zip(model.layers[-1].weights, HEAD, strict=True):
        if variable.shape == weights[path].shape:
            variable.assign(weights[path])


def build_callback(clock: StepClock):
    import keras

    return keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: clock.finish_step(batch + 1)
    )
