"""The settings that sides of `benchmarks.defaults` would train a set with, and how."""

import gc
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from benchmarks.workloads import Workload
from kbert.presets import Preset
from kbert.recipes import amazon, imdb, mrpc, spam, strategies, tweets
from kbert.recipes.experiment import Experiment
from kbert.runs.best_epoch import KeepBest
from kbert.runs.defaults import choose_settings
from kbert.tasks import find_task

_LOSS = "sparse_categorical_crossentropy"


@dataclass(frozen=True, kw_only=True)
class Training:
    """What one model is trained with.

    Args:
        learning_rate: highest.
        batch_size: rows a step.
        epochs: most passes over the training rows.
        max_length: longest text, in tokens.
        accumulate: steps whose gradients make one update.
        keep: figure on validation rows whose best epoch is kept, or `classify` for how
            `kbert.train` chooses one; `None`: the last is kept.
        patience: epochs without a better one, after which training stops.
        schedule: how the rate falls, as `kbert.adamw` takes it.
        warmup: share of the updates in which the rate rises.
        weight_decay: decoupled.
        decay_all: whether biases and norms decay too.
        clip: longest gradient.
        layer_decay: factor on the rate from each layer to the one below.
        dropout: share of values dropped in the head.
        head: as `kbert.build_classifier` takes it.
        class_weight: as `fit` takes it.
    """

    learning_rate: float
    batch_size: int
    epochs: int
    max_length: int
    accumulate: int = 1
    keep: Literal["val_accuracy", "val_loss", "classify"] | None = None
    patience: int | None = None
    schedule: Literal["linear", "cosine"] | None = None
    warmup: float = 0.0
    weight_decay: float = 0.0
    decay_all: bool = False
    clip: float | None = 1.0
    layer_decay: float | None = None
    dropout: float = 0.1
    head: str = "linear"
    class_weight: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return all settings by name."""
        return asdict(self)


@dataclass(frozen=True)
class Material:
    """What all sides train on and are measured with.

    Args:
        workload: texts and labels.
        preset: the encoder.
        train: rows to train on.
        validation: rows that may choose an epoch.
        held_out: rows to measure on.
        lengths: tokens of the rows to train on, uncut.
        longest: that any side may read, in tokens.
    """

    workload: Workload
    preset: Preset
    train: np.ndarray
    validation: np.ndarray
    held_out: np.ndarray
    lengths: np.ndarray
    longest: int


# === Sides ===


def choose_kbert(material: Material) -> Training:
    """Choose as `kbert.train` does for a file of these rows."""
    chosen = choose_settings(
        len(material.train), material.preset.config, material.lengths
    )
    return Training(
        **asdict(chosen) | {"max_length": min(chosen.max_length, material.longest)},
        keep="classify",
        schedule="linear",
    )


# The recipe nearest to a set, and what its `train` does that no setting says. Spam's
# default leaves the encoder frozen and reads its pooler, which the embedded encoder has
# not; SST-2 is film reviews, and the study of them is of about as few rows. MRPC's
# 500 updates of warm-up are a share of those that its 3,668 rows make.
_RECIPES: dict[str, tuple[Experiment, str, dict[str, Any]]] = {
    "tweets": (tweets.EXPERIMENT, "fixed", {"keep": "val_accuracy"}),
    "spam": (
        spam.EXPERIMENT,
        "full",
        {"head": "mlp", "class_weight": "balanced", "decay_all": True, "clip": None},
    ),
    "mrpc": (mrpc.EXPERIMENT, "baseline", {"warmup": 500 / (3 * 459)}),
    "sst2": (strategies.EXPERIMENT, "final", {"decay_all": True}),
    "amazon": (amazon.EXPERIMENT, "documented", {"keep": "val_loss"}),
    "imdb": (imdb.EXPERIMENT, "initial", {}),
}
_SHARED = (
    "learning_rate", "batch_size", "epochs", "accumulate", "patience", "schedule",
    "warmup", "weight_decay", "dropout",
)  # fmt: skip


def choose_documented(material: Material) -> Training:
    """Take the documented settings of the nearest recipe."""
    experiment, variant, habits = _RECIPES[material.workload.name]
    settings = experiment.variants[variant].settings
    shared = {name: getattr(settings, name) for name in _SHARED}
    length = settings.max_length or material.longest
    return Training(**shared | {"max_length": min(length, material.longest)} | habits)


def choose_autogluon(material: Material) -> Training:
    """Take the defaults of AutoGluon's text predictor.

    It validates twice an epoch with a patience of ten, and averages its three best
    models, which is left out here.
    """
    return Training(
        learning_rate=1e-4,
        batch_size=16,
        accumulate=8,  # 128 rows an update
        epochs=10,
        max_length=material.longest,
        keep="val_accuracy",
        patience=5,
        schedule="cosine",
        warmup=0.1,
        weight_decay=1e-3,
        layer_decay=0.9,
    )


def choose_trainer(material: Material) -> Training:
    """Take the defaults of the Hugging Face Trainer."""
    return Training(
        learning_rate=5e-5,
        batch_size=8,
        epochs=3,
        max_length=material.longest,
        schedule="linear",
    )


SIDES: dict[str, Callable[[Material], Training]] = {
    "kbert": choose_kbert,
    "documented": choose_documented,
    "autogluon": choose_autogluon,
    "trainer": choose_trainer,
}


# === Training ===


def build_optimizer(training: Training, num_rows: int):
    """Build AdamW as a side has it.

    Args:
        training: its settings.
        num_rows: rows to train on.

    Returns:
        The optimizer.
    """
    import kbert

    return kbert.adamw(
        training.learning_rate,
        schedule=training.schedule,
        warmup=training.warmup,
        epochs=training.epochs,
        examples=num_rows,
        batch_size=training.batch_size,
        accumulate=training.accumulate,
        weight_decay=training.weight_decay,
        decay_all=training.decay_all,
        global_clipnorm=training.clip,
        layer_decay=training.layer_decay,
    )


def _build_callbacks(training: Training, num_rows: int) -> list:
    """Return what chooses the epoch to keep and stops in time."""
    import keras

    if training.keep is None:
        return []
    patience = training.patience or training.epochs
    if training.keep == "classify":
        return [KeepBest(find_task(training.keep), patience, num_rows)]
    mode = "min" if training.keep == "val_loss" else "max"
    return [
        keras.callbacks.EarlyStopping(
            training.keep, mode=mode, patience=patience, restore_best_weights=True
        )
    ]


def train(material: Material, training: Training, seed: int, precision: str) -> dict:
    """Train one model and predict the held-out rows.

    Args:
        material: what is trained on.
        training: with what.
        seed: of the head, the order of the rows and dropout.
        precision: of the matrix products.

    Returns:
        `probabilities` (n, num_classes), `history` of the epochs, `seconds` of the
        training and the `precision` that was used.
    """
    import kbert

    gc.collect()
    kbert.set_seed(seed)
    workload, preset = material.workload, material.preset
    model = kbert.build_classifier(
        preset,
        num_classes=workload.num_classes,
        head=training.head,
        dropout=training.dropout,
        max_length=training.max_length,
        precision=precision,
        load_weights=bool(preset.variables),  # none: random ones
    )
    optimizer = build_optimizer(training, len(material.train))
    model.compile(optimizer, _LOSS, metrics=["accuracy"])
    parts = {
        name: (workload.take(rows), workload.labels[rows])
        for name, rows in (("train", material.train), ("val", material.validation))
    }
    started = time.perf_counter()
    history = model.fit(
        *parts["train"],
        validation_data=parts["val"],
        batch_size=training.batch_size,
        epochs=training.epochs,
        callbacks=_build_callbacks(training, len(material.validation)),
        class_weight=training.class_weight,
        verbose=0,
    ).history
    seconds = time.perf_counter() - started
    return {
        "probabilities": model.predict(workload.take(material.held_out)),
        "history": history,
        "seconds": seconds,
        "precision": str(model.backbone.compute_precision).removeprefix("torch."),
    }
