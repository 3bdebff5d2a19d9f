"""A model as an ONNX graph, written operation by operation.

The graph takes raw ids under transformers' names, `input_ids`, `attention_mask` and for
BERT `token_type_ids`, int64 (batch, length) with both sizes free; its weights keep
KerasHub's names.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kbert.engine.config import EncoderConfig
from kbert.exporting.head import Dense, Parts
from kbert.exporting.tokenizer_files import INPUT_NAMES
from kbert.presets.variables import EMBEDDINGS

OPSET = 20  # the first with Gelu
_IR_VERSION = 9  # of that opset's time, for runtimes that are not the newest
_MASKED = np.float32(-3e38)  # added to scores of padding; its softmax is exactly 0
_PROBABILITIES = {"Softmax", "Sigmoid"}
_OPERATORS = {
    "relu": "Relu",
    "tanh": "Tanh",
    "softmax": "Softmax",
    "sigmoid": "Sigmoid",
}


def build_onnx_model(parts: Parts) -> Any:
    """Write a model's graph.

    Args:
        parts: of the model.

    Returns:
        `onnx.ModelProto`. Outputs: `logits`, and for labels `probabilities`, of a text
        (batch, num_labels) or of every token (batch, length, num_labels); for answers
        `start_logits` and `end_logits` (batch, length).
    """
    from onnx import TensorProto, helper

    graph = _Graph(helper)
    outputs = _write_head(graph, parts, _write_encoder(graph, parts))
    length = ["length"] if parts.head.pooling == "tokens" else []
    width = [] if parts.head.task == "answer" else [len(parts.head.last.bias)]
    made = helper.make_graph(
        graph.nodes,
        "kbert",
        [
            helper.make_tensor_value_info(
                INPUT_NAMES[name], TensorProto.INT64, ["batch", "length"]
            )
            for name in parts.config.input_names
        ],
        [
            helper.make_tensor_value_info(
                name, TensorProto.FLOAT, ["batch", *length, *width]
            )
            for name in outputs
        ],
        graph.initializers,
    )
    return helper.make_model(
        made,
        producer_name="kbert",
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=_IR_VERSION,
    )


class _Graph:
    """Nodes and weights as they are added.

    Args:
        helper: `onnx.helper`.
    """

    def __init__(self, helper: Any) -> None:
        self._helper = helper
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self._known: set[str] = set()

    def add(
        self, operator: str, *inputs: str, name: str | None = None, **attributes: Any
    ) -> str:
        """Add a node and return the name of its output."""
        output = name or f"{operator.lower()}_{len(self.nodes)}"
        node = self._helper.make_node(
            operator, list(inputs), [output], name=output, **attributes
        )
        self.nodes.append(node)
        return output

    def store(self, name: str, array: np.ndarray | np.generic) -> str:
        """Add a weight or constant once and return its name."""
        if name not in self._known:
            from onnx import numpy_helper

            self._known.add(name)
            whole = np.array(array, order="C")  # keeps a number a number
            self.initializers.append(numpy_helper.from_array(whole, name))
        return name

    def count(self, values: Sequence[int]) -> str:
        """Add whole numbers and return their name."""
        name = "int64_" + "_".join(map(str, values)).replace("-", "minus_")
        return self.store(name, np.array(values, np.int64))

    def multiply(self, x: str, path: str, layer: Dense) -> str:
        """Add a dense layer: a product, its bias and its activation."""
        product = self.add("MatMul", x, self.store(f"{path}/kernel", layer.kernel))
        x = self.add("Add", product, self.store(f"{path}/bias", layer.bias))
        operator = _OPERATORS.get(layer.activation)
        return self.add(operator, x) if operator else x


def _write_encoder(graph: _Graph, parts: Parts) -> str:
    """Add the encoder and return the name of its sequence output."""
    config = parts.config
    x = _write_embeddings(graph, parts)
    keep = graph.add("Cast", "attention_mask", to=9)  # bool
    keep = graph.add("Unsqueeze", keep, graph.count([1, 2]))
    bias = graph.add(
        "Where",
        keep,
        graph.store("zero", np.float32(0)),
        graph.store("masked", _MASKED),
    )
    for index in range(config.num_layers):
        x = _write_layer(graph, parts, f"transformer_layer_{index}", x, bias)
    return x


def _write_embeddings(graph: _Graph, parts: Parts) -> str:
    weights, prefix = parts.weights, EMBEDDINGS[parts.config.family]

    def table(name: str) -> str:
        path = f"{name}/embeddings"
        return graph.store(path, weights[path])

    x = graph.add("Gather", table(f"{prefix}token_embedding"), "input_ids")
    length = graph.add("Shape", "input_ids", start=1, end=2)
    positions = graph.add(
        "Slice", table(f"{prefix}position_embedding"), graph.count([0]), length
    )
    x = graph.add("Add", x, positions)
    if parts.config.family == "bert":
        segments = graph.add("Gather", table("segment_embedding"), "token_type_ids")
        x = graph.add("Add", x, segments)
    return _normalize(graph, parts, "embeddings_layer_norm", x)


def _write_layer(graph: _Graph, parts: Parts, layer: str, x: str, bias: str) -> str:
    attended = _attend(graph, parts, f"{layer}/self_attention_layer", x, bias)
    x = graph.add("Add", attended, x)
    x = _normalize(graph, parts, f"{layer}/self_attention_layer_norm", x)
    inner = _project(graph, parts, f"{layer}/feedforward_intermediate_dense", x)
    hidden = _project(
        graph,
        parts,
        f"{layer}/feedforward_output_dense",
        _activate(graph, parts.config, inner),
    )
    x = graph.add("Add", hidden, x)
    return _normalize(graph, parts, f"{layer}/feedforward_layer_norm", x)


def _attend(graph: _Graph, parts: Parts, path: str, x: str, bias: str) -> str:
    config = parts.config
    head_dim = config.hidden_dim // config.num_heads
    split = graph.count([0, 0, config.num_heads, head_dim])

    def heads(name: str, order: list[int]) -> str:
        projected = _project(graph, parts, f"{path}/{name}", x)
        return graph.add(
            "Transpose", graph.add("Reshape", projected, split), perm=order
        )

    query, value = heads("query", [0, 2, 1, 3]), heads("value", [0, 2, 1, 3])
    scale = graph.store("attention_scale", np.float32(head_dim**-0.5))
    query = graph.add("Mul", query, scale)
    scores = graph.add("MatMul", query, heads("key", [0, 2, 3, 1]))
    shares = graph.add("Softmax", graph.add("Add", scores, bias), axis=-1)
    context = graph.add(
        "Transpose", graph.add("MatMul", shares, value), perm=[0, 2, 1, 3]
    )
    joined = graph.add("Reshape", context, graph.count([0, 0, config.hidden_dim]))
    return _project(graph, parts, f"{path}/attention_output", joined)


def _project(graph: _Graph, parts: Parts, path: str, x: str) -> str:
    """Add a dense layer of the encoder; attention's kernels have split heads."""
    kernel, bias = parts.weights[f"{path}/kernel"], parts.weights[f"{path}/bias"]
    bias = bias.reshape(-1)
    flat = Dense(kernel.reshape(-1, len(bias)), bias, "linear")
    return graph.multiply(x, path, flat)


def _activate(graph: _Graph, config: EncoderConfig, x: str) -> str:
    if config.activation == "relu":
        return graph.add("Relu", x)
    form = "tanh" if config.activation == "gelu_approximate" else "none"
    return graph.add("Gelu", x, approximate=form)


def _normalize(graph: _Graph, parts: Parts, path: str, x: str) -> str:
    scale, offset = (
        graph.store(f"{path}/{kind}", parts.weights[f"{path}/{kind}"])
        for kind in ("gamma", "beta")
    )
    epsilon = parts.config.layer_norm_epsilon
    return graph.add("LayerNormalization", x, scale, offset, axis=-1, epsilon=epsilon)


def _write_head(graph: _Graph, parts: Parts, x: str) -> list[str]:
    """Add pooling and dense layers and return the names of the graph's outputs."""
    head = parts.head
    if head.pooling == "mean":
        x = _average(graph, x)
    elif head.pooling != "tokens":
        x = graph.add("Gather", x, graph.store("first", np.int64(0)), axis=1)
    if head.pooling == "pooler":
        x = graph.add("Tanh", _project(graph, parts, "pooled_dense", x))
    for index, layer in enumerate(head.hidden):
        x = graph.multiply(x, f"head_hidden_{index}", layer)
    last = Dense(head.last.kernel, head.last.bias, "linear")
    logits = graph.multiply(x, "head", last)
    if head.task == "answer":
        for index, name in enumerate(("start_logits", "end_logits")):
            column = graph.store(f"column_{index}", np.int64(index))
            graph.add("Gather", logits, column, axis=-1, name=name)
        return ["start_logits", "end_logits"]
    graph.add("Identity", logits, name="logits")
    operator = _OPERATORS.get(head.last.activation)
    if operator not in _PROBABILITIES:
        return ["logits"]
    graph.add(operator, logits, name="probabilities")
    return ["logits", "probabilities"]


def _average(graph: _Graph, x: str) -> str:
    """Add the mean over the tokens that are not padding."""
    mask = graph.add("Cast", "attention_mask", to=1)  # float32
    mask = graph.add("Unsqueeze", mask, graph.count([2]))
    total = graph.add(
        "ReduceSum", graph.add("Mul", x, mask), graph.count([1]), keepdims=0
    )
    return graph.add(
        "Div", total, graph.add("ReduceSum", mask, graph.count([1]), keepdims=0)
    )
