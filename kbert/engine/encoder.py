"""The encoder as plain torch, on real tokens only.

It reads the weights of a `Backbone` and computes what the backbone's Keras layers
would, without their padding: embeddings, projections, feed-forward parts and norms run
on packed tokens, attention on groups of like lengths, and the last layer only on the
rows that somebody reads.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from kbert.engine.attention import attend
from kbert.engine.config import EncoderConfig
from kbert.engine.dropout import Dropout
from kbert.engine.linear import Linear
from kbert.engine.packing import Packing

_ACTIVATIONS = {
    "gelu": functional.gelu,
    "gelu_approximate": lambda x: functional.gelu(x, approximate="tanh"),
    "relu": functional.relu,
}


Norm = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class LayerWeights:
    """Weights of one transformer layer.

    Args:
        projection: to query, key and value, in this order.
        attention_output: of the heads, joined.
        attention_norm: scale and offset, float32 (hidden,) each.
        intermediate: first product of the feed-forward part.
        output: its second.
        output_norm: scale and offset.
    """

    projection: Linear
    attention_output: Linear
    attention_norm: Norm
    intermediate: Linear
    output: Linear
    output_norm: Norm


@dataclass(frozen=True)
class EncoderWeights:
    """Weights of a whole encoder.

    Args:
        tokens: float32 (vocabulary_size, hidden).
        positions: float32 (max_sequence_length, hidden).
        segments: float32 (num_segments, hidden), or `None` for families without.
        embeddings_norm: scale and offset, float32 (hidden,) each.
        layers: from the bottom up.
        top_query: of the top layer alone, for the rows that somebody reads.
        top_key_value: of the top layer, for all tokens.
        pooler: `None` for families without one.
        dtype: of the matrix products and of what flows between the layers; norms and
            softmax sum in float32 whatever it is.
    """

    tokens: torch.Tensor
    positions: torch.Tensor
    segments: torch.Tensor | None
    embeddings_norm: Norm
    layers: Sequence[LayerWeights]
    top_query: Linear
    top_key_value: Linear
    pooler: Linear | None
    dtype: torch.dtype


@dataclass(frozen=True)
class Encoder:
    """One forward pass over a packed batch.

    Args:
        config: shape and mathematics of the encoder.
        weights: of the encoder.
        packing: which tokens are real.
        dropout: draws the masks, or `None` for none.
        sparse_gradients: give the token table a sparse gradient, for an optimizer
            that can take it.
        token_vectors: float32 (num_rows, length, hidden_dim), padded, to use in place
            of the token table's; `None`: look the ids up.
    """

    config: EncoderConfig
    weights: EncoderWeights
    packing: Packing
    dropout: Dropout | None
    sparse_gradients: bool = False
    token_vectors: torch.Tensor | None = None

    def encode(
        self, token_ids: torch.Tensor, segment_ids: torch.Tensor | None
    ) -> torch.Tensor:
        """Encode every token.

        Args:
            token_ids: int (num_rows, length), padded.
            segment_ids: int (num_rows, length), or `None`.

        Returns:
            Vectors of the packed tokens, (num_tokens, hidden_dim).
        """
        x = self._embed(token_ids, segment_ids)
        for layer in self.weights.layers:
            x = self._run_layer(layer, x, self._attend(layer.projection(x)))
        return x

    def encode_first(
        self, token_ids: torch.Tensor, segment_ids: torch.Tensor | None
    ) -> torch.Tensor:
        """Encode each row's first token, sparing the rest of the last layer.

        Returns:
            (num_rows, hidden_dim) in the order of the padded batch.
        """
        weights = self.weights
        x = self._embed(token_ids, segment_ids)
        for layer in weights.layers[:-1]:
            x = self._run_layer(layer, x, self._attend(layer.projection(x)))
        first = x[self.packing.starts]
        context = self._attend(weights.top_key_value(x), weights.top_query(first))
        first = self._run_layer(weights.layers[-1], first, context)
        return first[self.packing.packed_rows]

    def take_first(self, x: torch.Tensor) -> torch.Tensor:
        """Take each row's first token out of packed vectors, in padded order."""
        return x[self.packing.starts][self.packing.packed_rows]

    def pool(self, first: torch.Tensor) -> torch.Tensor:
        """Run the pooler on first-token vectors, (num_rows, hidden_dim)."""
        assert self.weights.pooler is not None
        return torch.tanh(self.weights.pooler(first))

    def _embed(self, token_ids, segment_ids):
        weights, packing = self.weights, self.packing
        x = self._look_up(token_ids)
        x = x + functional.embedding(packing.compute_positions(), weights.positions)
        if weights.segments is not None:
            x = x + functional.embedding(packing.gather(segment_ids), weights.segments)
        x = self._normalize(x, weights.embeddings_norm)
        if self.dropout is not None:
            x = self.dropout.apply(x)
        return x.to(weights.dtype)

    def _look_up(self, token_ids):
        packing = self.packing
        if self.token_vectors is None:
            return functional.embedding(
                packing.gather(token_ids),
                self.weights.tokens,
                sparse=self.sparse_gradients,
            )
        real = self.token_vectors.flatten(0, 1)[packing.index]
        num_spare = packing.num_tokens - packing.num_real_tokens
        return functional.pad(real, (0, 0, 0, num_spare))

    def _attend(self, projected, query=None):
        return attend(
            projected, query, self.packing, self.config.num_heads, self.dropout
        )

    def _run_layer(self, layer, x, context):
        """Finish a layer for the tokens `x` that attention gave `context`."""
        attended = layer.attention_output(context)
        x = self._normalize(self._add(attended, x), layer.attention_norm)
        activation = _ACTIVATIONS[self.config.activation]
        hidden = layer.output(activation(layer.intermediate(x)))
        return self._normalize(self._add(hidden, x), layer.output_norm)

    def _normalize(self, x, norm):
        scale, offset = norm
        return functional.layer_norm(
            x, scale.shape, scale, offset, self.config.layer_norm_epsilon
        )

    def _add(self, x, residual):
        if self.dropout is None:
            return x + residual
        return self.dropout.add(x, residual)
