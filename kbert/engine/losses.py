"""Losses that start from logits, whatever the last layer shows."""

import keras

_FUNCTIONS = {
    "binary_crossentropy": keras.losses.BinaryCrossentropy,
    "categorical_crossentropy": keras.losses.CategoricalCrossentropy,
    "sparse_categorical_crossentropy": keras.losses.SparseCategoricalCrossentropy,
    "binary_focal_crossentropy": keras.losses.BinaryFocalCrossentropy,
    "categorical_focal_crossentropy": keras.losses.CategoricalFocalCrossentropy,
}


@keras.saving.register_keras_serializable(package="kbert")
class LogitsLoss(keras.losses.Loss):
    """A cross-entropy that reads the logits behind the probabilities.

    The logarithm of a softmax that was rounded to 0 or 1 is lost; the loss of its
    logits is not.

    Args:
        loss: one of Keras's cross-entropies, `from_logits=False`.
    """

    def __init__(self, loss, name=None, reduction=None):
        super().__init__(name=name or loss.name, reduction=reduction or loss.reduction)
        self.loss = loss
        config = {**loss.get_config(), "from_logits": True}
        self._logits_loss = type(loss).from_config(config)

    def __call__(self, y_true, y_pred, sample_weight=None):
        """Compute the loss; see `keras.losses.Loss`."""
        logits = getattr(y_pred, "_keras_logits", None)
        if logits is None:
            return self.loss(y_true, y_pred, sample_weight)
        return self._logits_loss(y_true, logits, sample_weight)

    def get_config(self):
        """Return the constructor's arguments."""
        loss = keras.losses.serialize(self.loss)
        return {"name": self.name, "reduction": self.reduction, "loss": loss}

    @classmethod
    def from_config(cls, config):
        """Build the loss from the result of `get_config`."""
        config = dict(config)
        return cls(keras.losses.deserialize(config.pop("loss")), **config)


def start_from_logits(loss):
    """Wrap the cross-entropies among the losses that `compile` was given.

    Args:
        loss: a loss, its name, or a list or dict of them.

    Returns:
        The same structure.
    """
    if isinstance(loss, dict):
        return {key: start_from_logits(one) for key, one in loss.items()}
    if isinstance(loss, (list, tuple)):
        return [start_from_logits(one) for one in loss]
    name = loss if isinstance(loss, str) else getattr(loss, "__name__", None)
    if name in _FUNCTIONS:
        return LogitsLoss(_FUNCTIONS[name]())
    known = type(loss) in _FUNCTIONS.values()
    return LogitsLoss(loss) if known and not loss.from_logits else loss
