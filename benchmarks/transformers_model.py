"""transformers' BERT with a head and a task's weights, and its tokenizer."""

from collections.abc import Iterator

import numpy as np

from benchmarks.encoders import HEAD
from benchmarks.tasks import DROPOUT, Task

_ACTIVATIONS = {"gelu": "gelu", "gelu_approximate": "gelu_new", "relu": "relu"}
_TABLES = {
    "token_embedding/embeddings": "word_embeddings.weight",
    "position_embedding/embeddings": "position_embeddings.weight",
    "segment_embedding/embeddings": "token_type_embeddings.weight",
    "embeddings_layer_norm/gamma": "LayerNorm.weight",
    "embeddings_layer_norm/beta": "LayerNorm.bias",
}
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


def build_transformers_model(task: Task, *, attention: str | None = None):
    """Build the task's `BertFor...` with the task's weights on its device.

    Args:
        task: what to run.
        attention: `sdpa` or `eager`; `None` is transformers' own choice.
    """
    import torch
    import transformers

    config = task.preset.config
    shape = transformers.BertConfig(
        vocab_size=config.vocabulary_size,
        hidden_size=config.hidden_dim,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads,
        intermediate_size=config.intermediate_dim,
        hidden_act=_ACTIVATIONS[config.activation],
        hidden_dropout_prob=DROPOUT,
        attention_probs_dropout_prob=DROPOUT,
        max_position_embeddings=config.max_sequence_length,
        type_vocab_size=config.num_segments,
        layer_norm_eps=config.layer_norm_epsilon,
        num_labels=task.workload.num_classes,
    )
    options = {"attn_implementation": attention} if attention else {}
    model_class = getattr(transformers, task.problem.model_class)
    model = model_class._from_config(shape, **options)
    state = {
        name: torch.tensor(array)
        for name, array in convert_weights(task.weights, task.problem.head)
        if ".pooler." not in name or model.bert.pooler is not None
    }
    lacking = model.load_state_dict(state, strict=False)
    missing = [key for key in lacking.missing_keys if not key.endswith("_ids")]
    if missing or lacking.unexpected_keys:
        raise RuntimeError(f"transformers' BERT has other weights: {lacking}")
    return model.to(task.device)


def convert_weights(
    weights: dict[str, np.ndarray], head: str
) -> Iterator[tuple[str, np.ndarray]]:
    """Rename and turn weights from KerasHub's layout into transformers'."""
    for path, array in weights.items():
        if path in _TABLES:
            yield f"bert.embeddings.{_TABLES[path]}", array
        elif path in HEAD:
            kind = "weight" if path == HEAD[0] else "bias"
            yield f"{head}.{kind}", array.T
        elif path.startswith("pooled_dense/"):
            yield f"bert.pooler.dense.{_kind(path)}", array.T
        else:
            layer, _, rest = path.partition("/")
            module, _, _ = rest.rpartition("/")
            number = layer.rpartition("_")[2]
            name = f"bert.encoder.layer.{number}.{_LAYER[module]}.{_kind(path)}"
            yield name, _turn(path, array)


def _kind(path: str) -> str:
    return "bias" if path.endswith(("/bias", "/beta")) else "weight"


def _turn(path: str, array: np.ndarray) -> np.ndarray:
    """Lay a kernel (in..., out...) out as (out, in)."""
    if not path.endswith("/kernel"):
        return array.reshape(-1)
    if "attention_output" in path:
        return array.reshape(-1, array.shape[-1]).T
    return array.reshape(array.shape[0], -1).T


def build_tokenizer(task: Task):
    """Build transformers' fast tokenizer with the preset's vocabulary."""
    from tokenizers import Tokenizer
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    own = task.preset.tokenizer
    backend = Tokenizer.from_str(own.json)
    start, end = (backend.id_to_token(one) for one in (own.start_id, own.end_id))
    backend.post_processor = TemplateProcessing(
        single=f"{start} $A {end}",
        pair=f"{start} $A {end} $B:1 {end}:1",
        special_tokens=[(start, own.start_id), (end, own.end_id)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=backend.id_to_token(own.pad_id),
        unk_token=backend.id_to_token(own.unknown_id),
        cls_token=start,
        sep_token=end,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )
