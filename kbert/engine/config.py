"""What an encoder looks like: the numbers that fix its shape and its mathematics."""

from dataclasses import dataclass
from typing import Literal

Family = Literal["bert", "distil_bert", "roberta"]
Activation = Literal["gelu", "gelu_approximate", "relu"]


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """Shape of a BERT, DistilBERT or RoBERTa encoder, in KerasHub's terms.

    Args:
        family: decides the inputs (`segment_ids` only for BERT) and whether there
            is a pooler (only BERT has one).
        vocabulary_size: number of token ids.
        num_layers: number of transformer layers.
        num_heads: attention heads a layer; divides `hidden_dim`.
        hidden_dim: width of a token's vector.
        intermediate_dim: width inside the feed-forward part.
        dropout: share of values dropped in training, in [0, 1).
        max_sequence_length: longest sequence, in tokens (rows of the position table).
        num_segments: rows of the segment table (BERT only).
        activation: of the feed-forward part: `gelu` is the exact (erf) form that
            Hugging Face checkpoints are trained with, `gelu_approximate` the tanh
            form that KerasHub's BERT uses.
        layer_norm_epsilon: added to the variance by every layer norm.

    Raises:
        ValueError: `num_heads` does not divide `hidden_dim`.
    """

    family: Family
    vocabulary_size: int
    num_layers: int
    num_heads: int
    hidden_dim: int
    intermediate_dim: int
    dropout: float = 0.1
    max_sequence_length: int = 512
    num_segments: int = 2
    activation: Activation = "gelu"
    layer_norm_epsilon: float = 1e-12

    def __post_init__(self) -> None:
        """Reject a shape that no encoder can have."""
        if self.num_heads < 1 or self.hidden_dim % self.num_heads:
            raise ValueError(
                f"num_heads must divide hidden_dim={self.hidden_dim}; "
                f"received num_heads={self.num_heads}."
            )

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the inputs, in KerasHub's order."""
        if self.family == "bert":
            return ("token_ids", "segment_ids", "padding_mask")
        return ("token_ids", "padding_mask")

    @property
    def has_pooler(self) -> bool:
        """Whether the encoder has BERT's pooler (a tanh dense layer on [CLS])."""
        return self.family == "bert"
