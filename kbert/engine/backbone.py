"""An encoder as a functional Keras model that runs packed."""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from contextvars import ContextVar

import keras
import numpy as np
import torch

from kbert.engine.buckets import Plan
from kbert.engine.config import EncoderConfig
from kbert.engine.dropout import Dropout
from kbert.engine.encoder import Encoder, EncoderWeights, LayerWeights
from kbert.engine.fused import can_attend_fused
from kbert.engine.inputs import check_batch, check_dtypes, explain
from kbert.engine.int8 import Int8Linear, is_available
from kbert.engine.layers import TransformerEncoder, build_layers, connect_layers
from kbert.engine.linear import Linear
from kbert.engine.memory import keep_freed_memory
from kbert.engine.packing import build_packing
from kbert.engine.precision import Precision, resolve_precision, use_fast_products
from kbert.engine.transfer import Mirror, follow, get_host_copy

OUTPUTS = ("sequence_output", "pooled_output")
# Encoders that multiply in 8 bits now; other threads' passes stay as they are.
_IN_INT8: ContextVar[tuple[int, ...]] = ContextVar("in_int8", default=())


@keras.saving.register_keras_serializable(package="kbert")
class Backbone(keras.Model):
    """A BERT, DistilBERT or RoBERTa encoder.

    Inputs and outputs are KerasHub's. BERT takes `token_ids`, `segment_ids` and
    `padding_mask`, int32 (batch, length), and gives `sequence_output` (batch, length,
    hidden_dim) and `pooled_output` (batch, hidden_dim); the other families take no
    segments and give the sequence output alone. Outputs at padding are zero.

    The layers, their names and their weights are KerasHub's too, so `get_layer`,
    `trainable`, `get_weights` and graphs from an inner layer work as they do there.
    A backbone none of whose weights trains drops no values in training, so its outputs
    are the same in every epoch; set `frozen_dropout` to have it drop them all the same.

    A call runs packed, on real tokens only; a backbone whose layers were changed
    (LoRA, quantised kernels) or that lives on a device other than a CPU or a CUDA GPU
    runs them as Keras does.

    Args:
        config: shape of the encoder.
        precision: `auto`, `float32`, `bfloat16` or `float16`: format of the matrix
            products, and what each of their results is rounded to. Weights, sums and
            the optimizer's state stay float32.
        name: of the model.
        trainable: whether the weights train.

    Example:
        ```python
        backbone = kbert.load_backbone("all_minilm_l6_v2_en")
        pooled = backbone(backbone.input)["pooled_output"]
        model = kbert.Model(backbone.input, keras.layers.Dense(2)(pooled))
        ```
    """

    def __init__(
        self,
        config: EncoderConfig,
        *,
        precision: Precision = "auto",
        name: str | None = None,
        trainable: bool = True,
    ):
        inputs = {
            key: keras.Input((None,), dtype="int32", name=key)
            for key in config.input_names
        }
        layers = build_layers(config)
        outputs = connect_layers(layers, inputs)
        super().__init__(inputs=inputs, outputs=outputs, name=name, trainable=trainable)
        # Torch modules take attributes only once they are initialised.
        for key, layer in layers.items():
            setattr(self, key, layer)
        self.config = config
        self.precision = precision
        self._saved_precision: str | None = None
        self.frozen_dropout = False
        self._engine_weights: tuple | None = None
        self.seed_generator = keras.random.SeedGenerator()
        self._seed_state: Mirror | None = None

    def call(self, inputs, training=None, mask=None):
        """Encode a padded batch; see the class for shapes."""
        if not self.runs_packed:
            return super().call(inputs, training=training, mask=mask)
        outputs = self.encode(self.standardize(inputs), training=bool(training))
        if self.config.family != "bert":
            return outputs["sequence_output"]
        return outputs

    def standardize(self, inputs) -> dict[str, torch.Tensor]:
        """Return the inputs, given as Keras takes them, as a dict of int tensors."""
        check_dtypes(inputs, self.inputs)
        names = sorted(self.input)
        return dict(zip(names, self._standardize_inputs(inputs), strict=True))

    @property
    def runs_packed(self) -> bool:
        """Whether the packed encoder can stand in for the Keras layers."""
        return self.device.type in ("cpu", "cuda") and not any(
            getattr(layer, "lora_enabled", False)
            or getattr(layer, "quantization_mode", None)
            for layer in self._flatten_layers(include_self=False)
        )

    @property
    def device(self) -> torch.device:
        """The device that the weights are on."""
        # Of a weight that quantizing leaves alone; collecting all takes a while.
        return self.embeddings_layer_norm.gamma.value.device

    @property
    def compute_precision(self) -> torch.dtype:
        """Dtype of the matrix products on the device the weights are on."""
        return resolve_precision(self.precision, self.device, self._saved_precision)

    @contextlib.contextmanager
    def in_int8(self) -> Iterator[None]:
        """Multiply in 8 bits within a block, in passes that do not train.

        Raises:
            ValueError: the encoder is not on a CPU, or does not run packed.
            RuntimeError: this torch has no 8-bit products.
        """
        device = self.device
        if device.type != "cpu" or not self.runs_packed:
            raise ValueError(
                "quantize='int8' is for an encoder on a CPU whose layers are as they "
                f"were built; this one is on {device}. Leave quantize (--int8) out."
            )
        if not is_available():
            raise RuntimeError(
                f"torch {torch.__version__} has no 8-bit products on this CPU. Leave "
                "quantize (--int8) out."
            )
        token = _IN_INT8.set((*_IN_INT8.get(), id(self)))
        try:
            yield
        finally:
            _IN_INT8.reset(token)

    @torch.compiler.disable
    def encode(
        self,
        inputs,
        *,
        training: bool = False,
        outputs: Sequence[str] = OUTPUTS,
        sparse_gradients: bool = False,
        token_vectors: torch.Tensor | None = None,
        plan: Plan | None = None,
    ) -> dict[str, torch.Tensor | None]:
        """Encode a padded batch and compute no more than is asked for.

        Args:
            inputs: dict of int tensors (batch, length) under the names of the inputs.
            training: whether to drop values.
            outputs: which of `sequence_output`, `pooled_output` and `first_output`
                (vector of each row's first token) to compute.
            sparse_gradients: give the token table a sparse gradient.
            token_vectors: float32 (batch, length, hidden_dim) in place of the token
                table's; the products are then in float32 whatever the precision.
            plan: how to run the batch, checked by who made it; `None` finds out.

        Returns:
            The outputs in float32; `None` for KerasHub's outputs not asked for.

        Raises:
            ValueError: an id lies outside its table, the batch is longer than the
                position table, shapes differ, a row has no token, or begins with
                padding where only first tokens are read.
        """
        keep_freed_memory()
        device, dtype = inputs["token_ids"].device, self.compute_precision
        if token_vectors is not None:
            dtype = torch.float32
        if id(self) in _IN_INT8.get() and not torch.is_grad_enabled():
            dtype = torch.qint8
        plan = plan or self._plan(inputs, dtype, training, outputs)
        encoder = Encoder(
            config=self.config,
            weights=self._get_weights(dtype),
            packing=plan.packing,
            dropout=plan.dropout,
            sparse_gradients=sparse_gradients,
            token_vectors=token_vectors,
        )
        with use_fast_products(dtype, device):
            return self._compute(encoder, inputs, outputs)

    def attends_fused(self, device: torch.device, dtype: torch.dtype) -> bool:
        """Whether attention is one kernel on a device, for rows of all lengths."""
        head_dim = self.config.hidden_dim // self.config.num_heads
        return can_attend_fused(device, dtype, head_dim)

    def _plan(
        self, inputs, dtype: torch.dtype, training: bool, outputs: Sequence[str]
    ) -> Plan:
        device = inputs["token_ids"].device
        is_fused = self.attends_fused(device, dtype)
        mask = get_host_copy(inputs["padding_mask"])
        try:
            check_batch(inputs | {"padding_mask": mask}, self.config, outputs)
            packing = build_packing(mask, None if is_fused else self.config.num_heads)
        except ValueError as error:
            raise explain(error) from None
        dropout = self.build_dropout(device) if training else None
        return Plan(packing.to(device), dropout)

    def _compute(self, encoder, inputs, outputs):
        results = dict.fromkeys(OUTPUTS if self.config.has_pooler else OUTPUTS[:1])
        token_ids, segment_ids = inputs["token_ids"], inputs.get("segment_ids")
        if "sequence_output" in outputs:
            packed = encoder.encode(token_ids, segment_ids)
            results["sequence_output"] = encoder.packing.scatter(packed.float())
            first = encoder.take_first(packed)
        else:
            first = encoder.encode_first(token_ids, segment_ids)
        if "pooled_output" in outputs and self.config.has_pooler:
            results["pooled_output"] = encoder.pool(first).float()
        if "first_output" in outputs:
            results["first_output"] = first.float()
        return results

    @property
    def runs_frozen(self) -> bool:
        """Whether a text's outputs stay the same while the model trains."""
        return not (self.trainable_weights or self.frozen_dropout)

    def build_dropout(self, device: torch.device) -> Dropout | None:
        """Return what drops values in the next pass that trains, if anything does."""
        if self.config.dropout == 0 or self.runs_frozen:
            return None
        return Dropout(self.config.dropout, self.draw_seed(), device)

    def draw_seed(self) -> int:
        """Return the seed of the next pass that drops values, and count it."""
        # Both halves of the state: the generator's seed and its count of draws.
        self._seed_state = follow(self.seed_generator.state, self._seed_state)
        state = self._seed_state.count()
        seed = int(np.random.SeedSequence(state).generate_state(1, "uint64")[0])
        return seed >> 1

    def _get_weights(self, dtype: torch.dtype) -> EncoderWeights:
        """Return the weights as the engine reads them."""
        key = (dtype, [id(variable.value) for variable in self.weights])
        # Another thread may keep those of another format meanwhile.
        kept = self._engine_weights
        if kept is None or kept[0] != key:
            kept = self._engine_weights = (key, self._read_weights(dtype))
        return kept[1]

    def _read_weights(self, dtype: torch.dtype) -> EncoderWeights:
        bert = self.config.family == "bert"
        tables = self if bert else self.embeddings
        top = _get_projections(self.transformer_layers[-1])
        return EncoderWeights(
            tokens=tables.token_embedding.embeddings.value,
            positions=tables.position_embedding.position_embeddings.value,
            segments=self.segment_embedding.embeddings.value if bert else None,
            embeddings_norm=_read_norm(self.embeddings_layer_norm),
            layers=[_read_layer(layer, dtype) for layer in self.transformer_layers],
            top_query=_read_dense(top[:1], dtype),
            top_key_value=_read_dense(top[1:], dtype),
            pooler=_read_dense([self.pooled_dense], dtype) if bert else None,
            dtype=torch.float32 if dtype == torch.qint8 else dtype,
        )

    def get_config(self):
        """Return the constructor's arguments, and what those leave open.

        `saved_precision` is what `precision="auto"` has come to here, so that a loaded
        model computes as this one does; `frozen_layers` are those that do not train.
        """
        dtype = self.compute_precision if self.precision == "auto" else None
        return {
            "config": dataclasses.asdict(self.config),
            "precision": self.precision,
            "saved_precision": str(dtype).removeprefix("torch.") if dtype else None,
            "name": self.name,
            "trainable": self.trainable,
            "frozen_layers": [one.name for one in self.layers if not one.trainable],
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """Build a backbone from the result of `get_config`."""
        config = dict(config)
        frozen = config.pop("frozen_layers", ())
        saved_precision = config.pop("saved_precision", None)
        backbone = cls(EncoderConfig(**config.pop("config")), **config)
        backbone._saved_precision = saved_precision
        for name in frozen:
            backbone.get_layer(name).trainable = False
        return backbone


def _read_dense(layers, dtype: torch.dtype, num_inputs: int = 1) -> Linear:
    pairs = [(layer.kernel.value, layer.bias.value) for layer in layers]
    if dtype == torch.qint8:
        return Int8Linear(pairs, torch.float32, num_inputs)
    return Linear(pairs, dtype, num_inputs)


def _read_norm(layer):
    return layer.gamma.value, layer.beta.value


def _get_projections(layer: TransformerEncoder) -> list:
    attention = layer._self_attention_layer
    return [attention.query_dense, attention.key_dense, attention.value_dense]


def _read_layer(layer: TransformerEncoder, dtype: torch.dtype) -> LayerWeights:
    attention = layer._self_attention_layer
    return LayerWeights(
        projection=_read_dense(_get_projections(layer), dtype),
        attention_output=_read_dense([attention._output_dense], dtype, num_inputs=2),
        attention_norm=_read_norm(layer._self_attention_layer_norm),
        intermediate=_read_dense([layer._feedforward_intermediate_dense], dtype),
        output=_read_dense([layer._feedforward_output_dense], dtype),
        output_norm=_read_norm(layer._feedforward_layer_norm),
    )
