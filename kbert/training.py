"""Seeds, AdamW with its schedules, class weights and freezing."""

from typing import Literal

import keras
import numpy as np
from keras import ops

from kbert.engine.adamw import AdamW
from kbert.engine.backbone import Backbone
from kbert.engine.lean import without_tensorflow
from kbert.rows import compute_balanced_class_weight as balanced_class_weight

__all__ = [
    "AdamW",
    "WarmupDecay",
    "adamw",
    "balanced_class_weight",
    "freeze",
    "set_seed",
    "unfreeze",
]

Schedule = Literal["linear", "cosine"]


def set_seed(seed: int) -> None:
    """Seed everything that draws: Python, NumPy, torch and Keras.

    Set before a model is built, it fixes the head's first weights, the order of the
    rows and dropout; two runs on a CPU are then bit-identical.

    Args:
        seed: in [0, 2**32).

    Raises:
        ValueError: the seed is out of range.
    """
    if not isinstance(seed, int | np.integer) or not 0 <= seed < 2**32:
        raise ValueError(
            f"seed must be a whole number in [0, 4294967296); received {seed!r}."
        )
    with without_tensorflow():
        keras.utils.set_random_seed(seed)


@keras.saving.register_keras_serializable(package="kbert")
class WarmupDecay(keras.optimizers.schedules.LearningRateSchedule):
    """A linear rise to the peak, then a linear or cosine fall to 0, or none.

    Args:
        peak: highest learning rate.
        warmup_steps: updates from 0 to the peak.
        total_steps: updates in all; at the last the rate has come to 0.
        decay: `linear`, `cosine`, or `None` to stay at the peak.

    Source: transformers' `get_linear_schedule_with_warmup` and
    `get_cosine_schedule_with_warmup`, whose rates these are, update for update.
    """

    def __init__(
        self,
        peak: float,
        warmup_steps: int = 0,
        total_steps: int | None = None,
        decay: Schedule | None = "linear",
    ):
        self.peak = peak
        self.warmup_steps = warmup_steps
        self.total_steps = total_steps
        self.decay = decay

    def __call__(self, step):
        """Return the rate of update `step`, counted from 0."""
        step = ops.cast(step, "float32")
        rising = step / max(1, self.warmup_steps)
        if self.decay is None:
            return self.peak * ops.minimum(rising if self.warmup_steps else 1.0, 1.0)
        falling_steps = max(1, (self.total_steps or 0) - self.warmup_steps)
        progress = (step - self.warmup_steps) / falling_steps
        progress = ops.clip(progress, 0.0, 1.0)
        falling = 1.0 - progress
        if self.decay == "cosine":
            falling = 0.5 * (1.0 + ops.cos(3.141592653589793 * progress))
        return self.peak * ops.where(step < self.warmup_steps, rising, falling)

    def get_config(self):
        """Return the constructor's arguments."""
        return {
            "peak": self.peak,
            "warmup_steps": self.warmup_steps,
            "total_steps": self.total_steps,
            "decay": self.decay,
        }


def adamw(
    learning_rate: float = 2e-5,
    *,
    schedule: Schedule | None = None,
    warmup: float = 0,
    epochs: int | None = None,
    examples: int | None = None,
    batch_size: int = 32,
    accumulate: int = 1,
    weight_decay: float = 0.01,
    decay_all: bool = False,
    epsilon: float = 1e-8,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    global_clipnorm: float | None = 1.0,
    head_learning_rate: float | None = None,
    layer_decay: float | None = None,
) -> AdamW:
    """Build the AdamW that BERT is fine-tuned with.

    Args:
        learning_rate: peak rate of the encoder's top layer.
        schedule: `linear` or `cosine` fall to 0 after the warm-up; `None` for none.
        warmup: updates that the rate takes to rise; below 1 a share of all updates.
        epochs: passes over the data, for a schedule or a share.
        examples: training examples, for a schedule or a share.
        batch_size: examples a step, as passed to `fit`.
        accumulate: steps whose gradients are averaged into one update.
        weight_decay: decoupled decay; 0 for none.
        decay_all: `True` decays biases and layer norms too, as
            `torch.optim.AdamW(model.parameters())` does; `False` spares them, as the
            Hugging Face Trainer does.
        epsilon: added to the root of the bias-corrected second moment (PyTorch).
        beta_1: decay of the first moment.
        beta_2: decay of the second moment.
        global_clipnorm: longest gradient, over all weights; `None` for no limit.
        head_learning_rate: peak rate of everything outside the encoder; `None` is
            `learning_rate`.
        layer_decay: factor on the rate from each layer to the one below.

    Returns:
        A Keras optimizer.

    Raises:
        ValueError: a value is out of range, or a schedule lacks `epochs` or
            `examples`.

    Source: Devlin et al. (2019), appendix A.3; Loshchilov & Hutter (2019).
    """
    given = {
        "learning_rate": learning_rate,
        "epsilon": epsilon,
        "batch_size": batch_size,
        "accumulate": accumulate,
        "head_learning_rate": head_learning_rate,
        "layer_decay": layer_decay,
        "global_clipnorm": global_clipnorm,
    }
    _check_positive(**{k: v for k, v in given.items() if v is not None})
    for name, value in (("beta_1", beta_1), ("beta_2", beta_2)):
        if not 0 <= value < 1:
            raise ValueError(f"{name} must lie in [0, 1); received {value}.")
    if layer_decay is not None and layer_decay > 1:
        raise ValueError(
            f"layer_decay must lie in (0, 1]; received {layer_decay}. Lower layers "
            "move less than higher ones."
        )
    for name, value in (("warmup", warmup), ("weight_decay", weight_decay)):
        if not value >= 0:
            raise ValueError(f"{name} must be 0 or more; received {value}.")
    if schedule not in (None, "linear", "cosine"):
        raise ValueError(
            f"schedule must be 'linear', 'cosine' or None; received {schedule!r}."
        )
    total = _count_updates(epochs, examples, batch_size, accumulate)
    if (schedule or 0 < warmup < 1) and total is None:
        raise ValueError(
            "a schedule needs the number of updates; pass epochs= and examples=, the "
            "number of training examples."
        )
    rate: float | WarmupDecay = float(learning_rate)
    if schedule or warmup:
        steps = round(warmup * (total or 0)) if 0 < warmup < 1 else int(warmup)
        rate = WarmupDecay(float(learning_rate), steps, total, schedule)
    return AdamW(
        learning_rate=rate,
        head_multiplier=(head_learning_rate or learning_rate) / learning_rate,
        layer_decay=1.0 if layer_decay is None else layer_decay,
        decay_all=decay_all,
        weight_decay=weight_decay,
        beta_1=beta_1,
        beta_2=beta_2,
        epsilon=epsilon,
        global_clipnorm=global_clipnorm,
        gradient_accumulation_steps=accumulate if accumulate > 1 else None,
        name="adamw",
    )


def _check_positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name} must be above 0; received {value}.")


def _count_updates(
    epochs: int | None, examples: int | None, batch_size: int, accumulate: int
) -> int | None:
    if epochs is None or examples is None:
        return None
    _check_positive(epochs=epochs, examples=examples)
    return max(1, -(-examples // batch_size) * epochs // accumulate)


def freeze(
    model: keras.Model,
    layers: int | None = None,
    *,
    embeddings: bool = False,
    pooler: bool = False,
) -> None:
    """Stop weights of the encoder from training; compile again afterwards.

    Args:
        model: one with a backbone in it, or a backbone.
        layers: transformer layers to freeze, from the bottom.
        embeddings: whether to freeze the embeddings and their layer norm.
        pooler: whether to freeze the pooler.

    With `model` alone the whole encoder is frozen. To freeze all but the pooler, pass
    the number of layers and `embeddings=True`.

    Raises:
        ValueError: the model has no backbone, or fewer layers.
    """
    everything = layers is None and not embeddings and not pooler
    for backbone in _find_backbones(model):
        count = len(backbone.transformer_layers)
        frozen = count if everything else (layers or 0)
        if not isinstance(frozen, int) or not 0 <= frozen <= count:
            raise ValueError(
                f"layers must lie in [0, {count}], the encoder's layers; "
                f"received {layers}."
            )
        for layer in backbone.transformer_layers[:frozen]:
            layer.trainable = False
        parts = _embedding_layers(backbone) if everything or embeddings else []
        parts += _pooler_layers(backbone) if everything or pooler else []
        for layer in parts:
            layer.trainable = False


def unfreeze(model: keras.Model) -> None:
    """Let all weights of the encoder train again; compile again afterwards.

    Args:
        model: one with a backbone in it, or a backbone.

    Raises:
        ValueError: the model has no backbone.
    """
    for backbone in _find_backbones(model):
        backbone.trainable = True
        for layer in backbone.layers:
            layer.trainable = True


def _find_backbones(model):
    layers = model._flatten_layers()  # the model too, and what is nested in others
    found = [layer for layer in layers if isinstance(layer, Backbone)]
    if not found:
        raise ValueError(
            f"{type(model).__name__} has no kbert backbone; build the model with "
            "kbert.load_backbone or kbert.build_classifier."
        )
    return found


def _embedding_layers(backbone: Backbone) -> list:
    kinds = ("token_embedding", "position_embedding", "segment_embedding", "embeddings")
    names = (*kinds, "embeddings_layer_norm")
    return [getattr(backbone, name) for name in names if hasattr(backbone, name)]


def _pooler_layers(backbone: Backbone) -> list:
    return [backbone.pooled_dense] if backbone.config.has_pooler else []
