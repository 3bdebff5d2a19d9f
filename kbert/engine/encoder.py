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
from kbert.engine.packing import Packing

_ACTIVATIONS = {
    "gelu": functional.gelu,
    "gelu_approximate": lambda x: functional.gelu(x, approximate="tanh"),
    "relu": functional.relu,
}


@dataclass(frozen=True)
class LayerWeights:
    """Weights of one transformer layer, float32, in KerasHub's shapes.

    Args:
        projections: kernel (hidden, heads, head_dim) and bias (heads, head_dim) of
            query, key and value, in this order.
        attention_output: kernel (heads, head_dim, hidden) and bias (hidden,).
        attention_norm: scale and offset, (hidden,) each.
        intermediate: kernel (hidden, intermediate) and bias.
        output: kernel (intermediate, hidden) and bias.
        output_norm: scale and offset.
    """

    projections: Sequence[tuple[torch.Tensor, torch.Tensor]]
    attention_output: tuple[torch.Tensor, torch.Tensor]
    attention_norm: tuple[torch.Tensor, torch.Tensor]
    intermediate: tuple[torch.Tensor, torch.Tensor]
    output: tuple[torch.Tensor, torch.Tensor]
    output_norm: tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class EncoderWeights:
    """Weights of a whole encoder, float32.

    Args:
        tokens: (vocabulary_size, hidden).
        positions: (max_sequence_length, hidden).
        segments: (num_segments, hidden), or `None` for families without segments.
        embeddings_norm: scale and offset, (hidden,) each.
        layers: from the bottom up.
        pooler: kernel (hidden, hidden) and bias, or `None` for families without one.
    """

    tokens: torch.Tensor
    positions: torch.Tensor
    segments: torch.Tensor | None
    embeddings_norm: tuple[torch.Tensor, torch.Tensor]
    layers: Sequence[LayerWeights]
    pooler: tuple[torch.Tensor, torch.Tensor] | None


@dataclass(frozen=True)
class Encoder:
    """One forward pass over a packed batch.

    Args:
        config: shape and mathematics of the encoder.
        weights: read, never copied for longer than the pass.
        packing: which tokens are real.
        dtype: of the matrix products and of what flows between the layers; norms and
            softmax sum in float32 whatever it is.
        dropout: draws the masks, or `None` for none.
        sparse_gradients: give the token table a sparse gradient, for an optimizer
            that can take it.
    """

    config: EncoderConfig
    weights: EncoderWeights
    packing: Packing
    dtype: torch.dtype
    dropout: Dropout | None
    sparse_gradients: bool = False

    def encode(
        self, token_ids: torch.Tensor, segment_ids: torch.Tensor | None
    ) -> torch.Tensor:
        """Encode every token.

        Args:
            token_ids: int (num_rows, length), padded.
            segment_ids: int (num_rows, length), or `None`.

        Returns:
            Vectors of the packed tokens, (num_tokens, hidden_dim), in `dtype`.
        """
        x = self._embed(token_ids, segment_ids)
        for layer in self.weights.layers:
            x = self._run_layer(layer, x, x)
        return x

    def encode_first(
        self, token_ids: torch.Tensor, segment_ids: torch.Tensor | None
    ) -> torch.Tensor:
        """Encode each row's first token, sparing the rest of the last layer.

        Returns:
            (num_rows, hidden_dim) in the order of the padded batch, in `dtype`.
        """
        x = self._embed(token_ids, segment_ids)
        for layer in self.weights.layers[:-1]:
            x = self._run_layer(layer, x, x)
        first = self._run_layer(self.weights.layers[-1], x, x[self.packing.starts])
        return first[self.packing.packed_rows]

    def take_first(self, x: torch.Tensor) -> torch.Tensor:
        """Take each row's first token out of packed vectors, in padded order."""
        return x[self.packing.starts][self.packing.packed_rows]

    def pool(self, first: torch.Tensor) -> torch.Tensor:
        """Run the pooler on first-token vectors, (num_rows, hidden_dim)."""
        assert self.weights.pooler is not None
        return torch.tanh(self._project(first, *self.weights.pooler))

    def _embed(self, token_ids, segment_ids):
        weights, packing = self.weights, self.packing
        x = functional.embedding(
            packing.gather(token_ids), weights.tokens, sparse=self.sparse_gradients
        )
        x = x + functional.embedding(packing.compute_positions(), weights.positions)
        if weights.segments is not None:
            x = x + functional.embedding(packing.gather(segment_ids), weights.segments)
        x = self._normalize(x, weights.embeddings_norm)
        if self.dropout is not None:
            x = self.dropout.apply(x)
        return x.to(self.dtype)

    def _run_layer(self, layer, x, rows):
        """Run one layer on all tokens `x`, for the outputs at `rows` of them."""
        context = self._attend(layer, x, rows)
        kernel, bias = layer.attention_output
        attended = self._project(context, kernel.flatten(0, 1), bias)
        rows = self._normalize(self._add(attended, rows), layer.attention_norm)
        hidden = _ACTIVATIONS[self.config.activation](
            self._project(rows, *layer.intermediate)
        )
        hidden = self._project(hidden, *layer.output)
        return self._normalize(self._add(hidden, rows), layer.output_norm)

    def _attend(self, layer, x, rows):
        kernels = [kernel.flatten(1) for kernel, _ in layer.projections]
        biases = [bias.flatten() for _, bias in layer.projections]
        if rows is x:
            projected = self._project(x, torch.cat(kernels, 1), torch.cat(biases))
            query, key, value = projected.chunk(3, -1)
        else:
            query = self._project(rows, kernels[0], biases[0])
            projected = self._project(
                x, torch.cat(kernels[1:], 1), torch.cat(biases[1:])
            )
            key, value = projected.chunk(2, -1)
        return attend(
            query, key, value, self.packing, self.config.num_heads, self.dropout
        )

    def _project(self, x, kernel, bias):
        return torch.addmm(bias.to(x.dtype), x, kernel.to(x.dtype))

    def _normalize(self, x, norm):
        scale, offset = norm
        return functional.layer_norm(
            x, scale.shape, scale, offset, self.config.layer_norm_epsilon
        )

    def _add(self, x, residual):
        if self.dropout is None:
            return x + residual
        return self.dropout.add(x, residual)
