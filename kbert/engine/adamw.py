"""AdamW as BERT recipes have it, with a rate for the head and rates by layer."""

import re

import keras

# Where the weights of an encoder stand, from the bottom up, by KerasHub's paths.
_ENCODER_PATH = re.compile(
    r"(?:^|/)(?:(?P<embeddings>token_embedding|position_embedding|segment_embedding"
    r"|token_and_position_embedding|embeddings|embeddings_layer_norm)"
    r"|transformer_layer_(?P<layer>\d+)|(?P<pooler>pooled_dense))/"
)
# The pooler moves at the rate of the top layer, wherever that is.
_POOLER = 10**6
_UNDECAYED = re.compile(r"(?:^|/)(?:bias|beta|gamma)$")


@keras.saving.register_keras_serializable(package="kbert")
class AdamW(keras.optimizers.AdamW):
    """AdamW with PyTorch's epsilon, a rate for the head and rates by layer.

    Unlike `keras.optimizers.AdamW`, epsilon is added to the root of the
    bias-corrected second moment, as PyTorch and therefore all published BERT
    recipes have it.

    Args:
        learning_rate: float or schedule, of the encoder's top layer.
        head_multiplier: rate of everything outside the encoder, over
            `learning_rate`.
        layer_decay: factor from one layer down to the next, in (0, 1]; embeddings
            count as one more layer.
        decay_all: whether biases and layer norms decay too (PyTorch's habit) or not
            (Hugging Face's).
        **kwargs: `keras.optimizers.AdamW`'s arguments.

    Source: Loshchilov & Hutter (2019); layer-wise rates Howard & Ruder (2018).
    """

    def __init__(
        self,
        learning_rate=2e-5,
        head_multiplier: float = 1.0,
        layer_decay: float = 1.0,
        decay_all: bool = False,
        **kwargs,
    ):
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.head_multiplier = head_multiplier
        self.layer_decay = layer_decay
        self.decay_all = decay_all

    def build(self, variables):
        """Create the moments and work out each variable's rate."""
        super().build(variables)
        layers = [_read_layer(v.path) for v in variables]
        depth = max((n for n in layers if n is not None and n != _POOLER), default=0)
        self._multipliers = [
            self.head_multiplier
            if layer is None
            else self.layer_decay ** max(0, depth - layer)
            for layer in layers
        ]

    def get_multiplier(self, variable) -> float:
        """Return the variable's rate over `learning_rate`."""
        return self._multipliers[self._get_variable_index(variable)]

    def _get_current_learning_rate(self):
        # Keras's schedules count steps; with accumulation only some are updates.
        if isinstance(
            self._learning_rate, keras.optimizers.schedules.LearningRateSchedule
        ):
            return self._learning_rate(self.iterations)
        return super()._get_current_learning_rate()

    def _use_weight_decay(self, variable):
        if not self.decay_all and _UNDECAYED.search(variable.path):
            return False
        return super()._use_weight_decay(variable)

    def _apply_weight_decay(self, variables):
        if not self.weight_decay:
            return
        rate = self.weight_decay * self._get_current_learning_rate()
        for variable in variables:
            if self._use_weight_decay(variable):
                variable.assign(variable * (1 - rate * self.get_multiplier(variable)))

    def update_step(self, gradient, variable, learning_rate):
        """Update one variable as Keras does, with this class's epsilon and rate."""
        step = keras.ops.cast(self.iterations + 1, variable.dtype)
        correction = keras.ops.sqrt(1 - keras.ops.power(self.beta_2, step))
        epsilon = self.epsilon  # type: ignore[has-type]
        self.epsilon = epsilon * correction
        try:
            rate = learning_rate * self.get_multiplier(variable)
            super().update_step(gradient, variable, rate)
        finally:
            self.epsilon = epsilon

    def get_config(self):
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "head_multiplier": self.head_multiplier,
            "layer_decay": self.layer_decay,
            "decay_all": self.decay_all,
        }


def _read_layer(path: str) -> int | None:
    """Return a variable's layer: 0 embeddings, 1.. layers, pooler, `None` head."""
    match = _ENCODER_PATH.search(path)
    if match is None:
        return None
    if match["embeddings"]:
        return 0
    return int(match["layer"]) + 1 if match["layer"] else _POOLER
