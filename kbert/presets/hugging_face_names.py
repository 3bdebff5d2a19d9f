"""What transformers calls the families, numbers and weights of an encoder."""

from kbert.engine.config import Activation, EncoderConfig, Family
from kbert.presets.variables import EMBEDDINGS, variable_shapes

FAMILIES: dict[str, Family] = {
    "bert": "bert",
    "distilbert": "distil_bert",
    "roberta": "roberta",
}

ACTIVATIONS: dict[str, Activation] = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_approximate",
    "gelu_fast": "gelu_approximate",
    "gelu_pytorch_tanh": "gelu_approximate",
    "relu": "relu",
}

# What transformers' classes call the same numbers: EncoderConfig's field -> key.
KEYS = {
    "vocabulary_size": "vocab_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "hidden_dim": "hidden_size",
    "intermediate_dim": "intermediate_size",
}
DISTIL_BERT_KEYS = {
    "vocabulary_size": "vocab_size",
    "num_layers": "n_layers",
    "num_heads": "n_heads",
    "hidden_dim": "dim",
    "intermediate_dim": "hidden_dim",
}

# Inside a layer: our name -> theirs.
_LAYER = {
    "self_attention_layer/query": "attention.self.query",
    "self_attention_layer/key": "attention.self.key",
    "self_attention_layer/value": "attention.self.value",
    "self_attention_layer/attention_output": "attention.output.dense",
    "self_attention_layer_norm": "attention.output.LayerNorm",
    "feedforward_intermediate_dense": "intermediate.dense",
    "feedforward_output_dense": "output.dense",
    "feedforward_layer_norm": "output.LayerNorm",
}
_DISTIL_BERT_LAYER = {
    "self_attention_layer/query": "attention.q_lin",
    "self_attention_layer/key": "attention.k_lin",
    "self_attention_layer/value": "attention.v_lin",
    "self_attention_layer/attention_output": "attention.out_lin",
    "self_attention_layer_norm": "sa_layer_norm",
    "feedforward_intermediate_dense": "ffn.lin1",
    "feedforward_output_dense": "ffn.lin2",
    "feedforward_layer_norm": "output_layer_norm",
}


def name_weights(config: EncoderConfig) -> dict[str, str]:
    """Name every variable of an encoder as transformers' classes do.

    Args:
        config: shape of the encoder.

    Returns:
        Their name, without the prefix of a model with a head, by variable path.
    """
    distil = config.family == "distil_bert"
    layer_names = _DISTIL_BERT_LAYER if distil else _LAYER
    layers = "transformer.layer" if distil else "encoder.layer"
    prefix = EMBEDDINGS[config.family]
    modules = {
        f"{prefix}token_embedding": "embeddings.word_embeddings",
        f"{prefix}position_embedding": "embeddings.position_embeddings",
        "segment_embedding": "embeddings.token_type_embeddings",
        "embeddings_layer_norm": "embeddings.LayerNorm",
        "pooled_dense": "pooler.dense",
    }
    for index in range(config.num_layers):
        for ours, name in layer_names.items():
            modules[f"transformer_layer_{index}/{ours}"] = f"{layers}.{index}.{name}"
    names = {}
    for path in variable_shapes(config):
        module, _, kind = path.rpartition("/")
        suffix = "bias" if kind in ("bias", "beta") else "weight"
        names[path] = f"{modules[module]}.{suffix}"
    return names
