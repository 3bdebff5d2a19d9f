"""The layers of an encoder in KerasHub's layout, as Keras runs them.

They hold the weights, under the names that KerasHub gives them, and they are the
reference for the packed encoder: a graph that takes an inner layer's output, a layer
with LoRA or quantised kernels, or a device the engine does not know runs them as they
stand.
"""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

import keras
from keras import ops

from kbert.engine.config import EncoderConfig

_AWAITS_WEIGHTS: ContextVar[bool] = ContextVar("awaits_weights", default=False)


@contextlib.contextmanager
def awaiting_weights() -> Iterator[None]:
    """Draw no values for encoders that are built in this block: theirs are loaded.

    Drawing them takes longer than loading, and several times the largest table's
    memory. Seeds are counted all the same, so that a head starts as it does beside
    drawn weights.
    """
    token = _AWAITS_WEIGHTS.set(True)
    try:
        yield
    finally:
        _AWAITS_WEIGHTS.reset(token)


@keras.saving.register_keras_serializable(package="kbert")
class EncoderInitializer(keras.initializers.TruncatedNormal):
    """BERT's (Devlin et al., 2019); zeros where weights are loaded right after."""

    def __call__(self, shape, dtype=None):
        """Return a tensor of a shape."""
        if _AWAITS_WEIGHTS.get():
            return ops.zeros(shape, dtype)  # which a CPU gives out untouched
        return super().__call__(shape, dtype)


def build_initializer() -> keras.initializers.Initializer:
    """Return BERT's weight initializer (Devlin et al., 2019)."""
    return keras.initializers.TruncatedNormal(stddev=0.02)


def _build_encoder_initializer() -> keras.initializers.Initializer:
    return EncoderInitializer(stddev=0.02)


def compute_gelu_approximate(x):
    """Compute GELU in its tanh form, the one KerasHub's BERT uses."""
    return keras.activations.gelu(x, approximate=True)


ACTIVATIONS = {
    "gelu": keras.activations.gelu,
    "gelu_approximate": compute_gelu_approximate,
    "relu": keras.activations.relu,
}


@keras.saving.register_keras_serializable(package="kbert")
class PositionEmbedding(keras.layers.Layer):
    """Learned vectors, one a position.

    Args:
        sequence_length: rows of the table, in tokens.
    """

    def __init__(self, sequence_length: int, **kwargs):
        super().__init__(**kwargs)
        self.sequence_length = sequence_length

    def build(self, input_shape):
        """Create the table, shape (sequence_length, hidden_dim)."""
        self.position_embeddings = self.add_weight(
            name="embeddings",
            shape=(self.sequence_length, input_shape[-1]),
            initializer=_build_encoder_initializer(),
        )
        self.built = True

    def call(self, inputs):
        """Return the vectors of positions 0, 1, ... in the shape of `inputs`."""
        shape = ops.shape(inputs)
        table = ops.convert_to_tensor(self.position_embeddings)
        return ops.broadcast_to(table[: shape[-2]], shape)

    def compute_output_shape(self, input_shape):
        """Return the shape of the inputs."""
        return input_shape

    def get_config(self):
        """Return the constructor's arguments."""
        return {**super().get_config(), "sequence_length": self.sequence_length}


@keras.saving.register_keras_serializable(package="kbert")
class TokenAndPositionEmbedding(keras.layers.Layer):
    """Token plus position vectors, as DistilBERT and RoBERTa have them.

    Args:
        vocabulary_size: number of token ids.
        sequence_length: longest sequence, in tokens.
        embedding_dim: width of a vector.
    """

    def __init__(
        self, vocabulary_size: int, sequence_length: int, embedding_dim: int, **kwargs
    ):
        super().__init__(**kwargs)
        self.vocabulary_size = vocabulary_size
        self.sequence_length = sequence_length
        self.embedding_dim = embedding_dim
        self.token_embedding = keras.layers.ReversibleEmbedding(
            vocabulary_size,
            embedding_dim,
            embeddings_initializer=_build_encoder_initializer(),
            name="token_embedding",
        )
        self.position_embedding = PositionEmbedding(
            sequence_length, name="position_embedding"
        )

    def build(self, input_shape):
        """Create both tables."""
        self.token_embedding.build(input_shape)
        self.position_embedding.build((*input_shape, self.embedding_dim))
        self.built = True

    def call(self, inputs):
        """Return vectors of shape (batch, length, embedding_dim)."""
        tokens = self.token_embedding(inputs)
        return tokens + self.position_embedding(tokens)

    def compute_output_shape(self, input_shape):
        """Return (batch, length, embedding_dim)."""
        return (*input_shape, self.embedding_dim)

    def get_config(self):
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "vocabulary_size": self.vocabulary_size,
            "sequence_length": self.sequence_length,
            "embedding_dim": self.embedding_dim,
        }


@keras.saving.register_keras_serializable(package="kbert")
class TransformerEncoder(keras.layers.Layer):
    """One post-norm transformer layer with KerasHub's parts and part names.

    Args:
        intermediate_dim: width inside the feed-forward part.
        num_heads: attention heads; divides the width of the inputs.
        dropout: share of values dropped in training.
        activation: a key of `ACTIVATIONS`.
        layer_norm_epsilon: added to the variance by both layer norms.
    """

    def __init__(
        self,
        intermediate_dim: int,
        num_heads: int,
        dropout: float = 0.1,
        activation: str = "gelu",
        layer_norm_epsilon: float = 1e-12,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.intermediate_dim = intermediate_dim
        self.num_heads = num_heads
        self.dropout = dropout
        self.activation = activation
        self.layer_norm_epsilon = layer_norm_epsilon
        self.supports_masking = True

    def build(self, input_shape):
        """Create the attention and feed-forward parts."""
        hidden_dim = input_shape[-1]
        self._self_attention_layer = keras.layers.MultiHeadAttention(
            num_heads=self.num_heads,
            key_dim=hidden_dim // self.num_heads,
            dropout=self.dropout,
            kernel_initializer=_build_encoder_initializer(),
            name="self_attention_layer",
        )
        self._self_attention_layer.build(
            query_shape=input_shape, value_shape=input_shape
        )
        self._self_attention_layer_norm = self._build_norm(
            "self_attention_layer_norm", input_shape
        )
        self._self_attention_dropout = keras.layers.Dropout(
            self.dropout, name="self_attention_dropout"
        )
        self._feedforward_layer_norm = self._build_norm(
            "feedforward_layer_norm", input_shape
        )
        self._feedforward_intermediate_dense = self._build_dense(
            self.intermediate_dim,
            "feedforward_intermediate_dense",
            input_shape,
            ACTIVATIONS[self.activation],
        )
        self._feedforward_output_dense = self._build_dense(
            hidden_dim,
            "feedforward_output_dense",
            (*input_shape[:-1], self.intermediate_dim),
        )
        self._feedforward_dropout = keras.layers.Dropout(
            self.dropout, name="feedforward_dropout"
        )
        self.built = True

    def _build_norm(self, name, input_shape):
        norm = keras.layers.LayerNormalization(
            epsilon=self.layer_norm_epsilon, name=name
        )
        norm.build(input_shape)
        return norm

    def _build_dense(self, units, name, input_shape, activation=None):
        dense = keras.layers.Dense(
            units,
            activation=activation,
            kernel_initializer=_build_encoder_initializer(),
            name=name,
        )
        dense.build(input_shape)
        return dense

    def call(self, inputs, padding_mask=None, training=None):
        """Transform vectors of shape (batch, length, hidden_dim)."""
        mask = None
        if padding_mask is not None:
            mask = ops.cast(ops.expand_dims(padding_mask, 1), "bool")
        x = self._self_attention_layer(
            query=inputs, value=inputs, attention_mask=mask, training=training
        )
        x = self._self_attention_dropout(x, training=training)
        x = self._self_attention_layer_norm(x + inputs)
        residual = x
        x = self._feedforward_intermediate_dense(x)
        x = self._feedforward_output_dense(x)
        x = self._feedforward_dropout(x, training=training)
        return self._feedforward_layer_norm(x + residual)

    def compute_output_shape(self, input_shape, *args, **kwargs):
        """Return the shape of the inputs."""
        return input_shape

    def get_config(self):
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "intermediate_dim": self.intermediate_dim,
            "num_heads": self.num_heads,
            "dropout": self.dropout,
            "activation": self.activation,
            "layer_norm_epsilon": self.layer_norm_epsilon,
        }


def build_layers(config: EncoderConfig) -> dict:
    """Return an encoder's layers under KerasHub's attribute names."""
    layers = _build_embeddings(config)
    layers["embeddings_layer_norm"] = keras.layers.LayerNormalization(
        epsilon=config.layer_norm_epsilon, name="embeddings_layer_norm"
    )
    layers["embeddings_dropout"] = keras.layers.Dropout(
        config.dropout, name="embeddings_dropout"
    )
    layers["transformer_layers"] = [
        TransformerEncoder(
            config.intermediate_dim,
            config.num_heads,
            dropout=config.dropout,
            activation=config.activation,
            layer_norm_epsilon=config.layer_norm_epsilon,
            name=f"transformer_layer_{index}",
        )
        for index in range(config.num_layers)
    ]
    if config.has_pooler:
        layers["pooled_dense"] = keras.layers.Dense(
            config.hidden_dim,
            activation="tanh",
            kernel_initializer=_build_encoder_initializer(),
            name="pooled_dense",
        )
    return layers


def _build_embeddings(config: EncoderConfig) -> dict:
    if config.family != "bert":
        name = {
            "roberta": "embeddings",
            "distil_bert": "token_and_position_embedding",
        }[config.family]
        embeddings = TokenAndPositionEmbedding(
            config.vocabulary_size,
            config.max_sequence_length,
            config.hidden_dim,
            name=name,
        )
        return {"embeddings": embeddings}
    return {
        "token_embedding": keras.layers.ReversibleEmbedding(
            config.vocabulary_size,
            config.hidden_dim,
            embeddings_initializer=_build_encoder_initializer(),
            name="token_embedding",
        ),
        "position_embedding": PositionEmbedding(
            config.max_sequence_length, name="position_embedding"
        ),
        "segment_embedding": keras.layers.Embedding(
            config.num_segments,
            config.hidden_dim,
            embeddings_initializer=_build_encoder_initializer(),
            name="segment_embedding",
        ),
        "embeddings_add": keras.layers.Add(name="embeddings_add"),
    }


def connect_layers(layers: dict, inputs: dict):
    """Connect an encoder's layers; return the outputs of its graph."""
    if "embeddings" in layers:
        x = layers["embeddings"](inputs["token_ids"])
    else:
        tokens = layers["token_embedding"](inputs["token_ids"])
        positions = layers["position_embedding"](tokens)
        segments = layers["segment_embedding"](inputs["segment_ids"])
        x = layers["embeddings_add"]((tokens, positions, segments))
    x = layers["embeddings_dropout"](layers["embeddings_layer_norm"](x))
    for layer in layers["transformer_layers"]:
        x = layer(x, padding_mask=inputs["padding_mask"])
    if "pooled_dense" not in layers:
        return x
    pooled = layers["pooled_dense"](x[:, 0, :])
    return {"sequence_output": x, "pooled_output": pooled}
