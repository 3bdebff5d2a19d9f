"""Where an answer starts and ends, as scores over the tokens of a text."""

import keras
from keras import ops

_NEVER = -1e9  # the score of padding


@keras.saving.register_keras_serializable(package="kbert")
class SpanScores(keras.layers.Layer):
    """Scores of tokens to be first and last, as rows over the tokens of a window."""

    def call(self, scores, padding_mask):
        """Turn (batch, length, 2) to (batch, 2, length), padding out of the running."""
        scores = ops.transpose(scores, (0, 2, 1))
        is_token = ops.expand_dims(ops.cast(padding_mask, "bool"), 1)
        return ops.where(is_token, scores, _NEVER)

    def compute_output_shape(self, scores_shape, padding_mask_shape):
        """Return (batch, 2, length)."""
        return (scores_shape[0], 2, scores_shape[1])
