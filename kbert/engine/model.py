"""A functional Keras model whose encoders and training step run on the engine."""

import functools
import logging
from typing import Any

import keras
import torch
from keras import tree

from kbert.engine.backbone import Backbone
from kbert.engine.buckets import Plan
from kbert.engine.capture import CapturedSteps
from kbert.engine.compiling import build_update, find_compile_failure
from kbert.engine.graph import in_mode, shows_logits
from kbert.engine.inputs import (
    check_dtypes,
    describe_unsound,
    find_unsound,
    find_wrong_label,
)
from kbert.engine.logs import LazyCallbacks, count_steps
from kbert.engine.losses import start_from_logits
from kbert.engine.optimizers import FusedUpdate
from kbert.engine.precision import use_fast_products
from kbert.engine.reads import find_reads
from kbert.engine.recovery import MemoryRecovery, can_split, is_weighted
from kbert.engine.transfer import HostNumbers, LossWatch, send

_logger = logging.getLogger("kbert")


class EngineModel(keras.Model):
    """A functional model with a `Backbone` in it.

    The graph, `fit`, callbacks and losses are Keras's. What differs: an encoder
    computes only the outputs that the graph reads, cross-entropies start from logits,
    and a known optimizer's update is one fused call. On a CUDA GPU steps are recorded
    for the shapes of batch that come most and replayed; `compile(jit_compile=False)`
    leaves that out.
    """

    optimizer: Any = None  # until it is compiled

    def __init__(self, inputs, outputs, name=None, **kwargs):
        super().__init__(inputs=inputs, outputs=outputs, name=name, **kwargs)
        self._reads = find_reads(self)
        self._update: FusedUpdate | None = None
        self._updated: list[int] | None = None  # what it is for
        self._recovery = MemoryRecovery()
        self._tolerates_nan = False
        self._in_train_step = False
        self._plan: Plan | None = None
        self._jit_compile_asked: bool | str = "auto"
        self._captured: CapturedSteps | None = None
        self._said_not_captured: str | None = None
        self._host_numbers = HostNumbers()
        self._watch: LossWatch | None = None
        self._head: keras.Model | None = None

    def call(self, inputs, training=None, mask=None):
        """Run the graph; encoders compute only what it reads."""
        check_dtypes(inputs, self.inputs)
        outputs = self._run_through_graph(
            self._standardize_inputs(inputs),
            operation_fn=functools.partial(self._get_function, training=training),
        )
        for output, tensor in zip(self.outputs, tree.flatten(outputs), strict=True):
            if shows_logits(output):
                tensor._keras_logits = tensor
        return outputs

    def run_on_vectors(self, inputs, token_vectors: torch.Tensor) -> torch.Tensor:
        """Run the graph as in prediction, on token vectors of the caller's.

        Gradients flow back to the vectors, which is what attributions are made of.

        Args:
            inputs: dict of int tensors (batch, length), as the graph takes them.
            token_vectors: float32 (batch, length, hidden_dim), in place of those that
                the encoder's token table has for `token_ids`.

        Returns:
            The outputs; the attribute `_keras_logits` of one that comes from a softmax
            or sigmoid holds its logits.
        """
        run = functools.partial(
            self._get_function, training=False, token_vectors=token_vectors
        )
        inputs = self._standardize_inputs(inputs)
        return self._run_through_graph(inputs, operation_fn=run)

    def _get_function(self, operation, training, token_vectors=None):
        reads = self._reads.get(id(operation))
        if reads is None:
            return in_mode(operation, training)
        if isinstance(operation, Backbone):
            if operation.runs_packed:
                return functools.partial(
                    self._encode, operation, reads, training, token_vectors
                )
            return in_mode(operation, training)
        # This operation takes the first token; its encoder has already done so.
        backbone = reads[0]
        return (lambda x, key, **context: x) if backbone.runs_packed else operation

    def _encode(self, backbone, reads, training, token_vectors, inputs, **context):
        # Adding up a sparse gradient's rows makes the host wait for a GPU.
        fused = self._in_train_step and self._update is not None
        with self._host_numbers.paused():
            outputs = backbone.encode(
                backbone.standardize(inputs),
                training=bool(training),
                outputs=reads,
                sparse_gradients=fused and self._device.type == "cpu",
                token_vectors=token_vectors,
                plan=self._plan,
            )
        if "first_output" in reads:
            outputs["sequence_output"] = outputs.pop("first_output")
        if backbone.config.has_pooler:
            return outputs
        return outputs["sequence_output"]

    def compile(self, optimizer="rmsprop", loss=None, **kwargs):
        """Configure training; see `keras.Model.compile`.

        Cross-entropies start from the logits of a last layer with a softmax, sigmoid,
        log-softmax or no activation. With float16 products the optimizer scales its
        loss. With `jit_compile=False` or `run_eagerly=True` a GPU runs every training
        step kernel by kernel; else it replays recorded steps where it can, to the same
        effect, and with `jit_compile=True` Keras compiles what is outside of them, if
        there is a C++ compiler.
        """
        self._jit_compile_asked = kwargs.get("jit_compile", "auto")
        failure = find_compile_failure() if self._jit_compile_asked is True else None
        if failure is not None:
            _logger.warning(
                "jit_compile=True needs a C++ compiler, and %s; the model runs as it "
                "does without.",
                failure,
            )
            kwargs["jit_compile"] = False
        optimizer = keras.optimizers.get(optimizer)
        if self._needs_loss_scale(optimizer):
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        super().compile(optimizer=optimizer, loss=start_from_logits(loss), **kwargs)
        self._update = self._updated = None

    def get_compile_config(self):
        """Return what `compile` was given; see `keras.Model`."""
        config = super().get_compile_config()
        # Keras writes down what "auto" came to.
        return config and config | {"jit_compile": self._jit_compile_asked}

    def compile_from_config(self, config):
        """Compile with what `get_compile_config` gave."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.build_optimizer()

    def build_optimizer(self) -> None:
        """Create the optimizer's variables, as files hold and expect them."""
        if self.optimizer is not None and not self.optimizer.built:
            self.optimizer.build(self.trainable_variables)

    def save_weights(self, filepath, *args, **kwargs):
        """Save the weights and the optimizer's state; see `keras.Model`."""
        self.build_optimizer()
        super().save_weights(filepath, *args, **kwargs)

    def load_weights(self, filepath, *args, **kwargs):
        """Load what `save_weights` saved; see `keras.Model`."""
        self.build_optimizer()
        super().load_weights(filepath, *args, **kwargs)

    def _needs_loss_scale(self, optimizer) -> bool:
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            return False
        return any(
            backbone.compute_precision == torch.float16 for backbone in self.backbones
        )

    @property
    def backbones(self) -> list[Backbone]:
        """The encoders in the graph, each once."""
        return [layer for layer in self.layers if isinstance(layer, Backbone)]

    @property
    def _device(self) -> torch.device:
        backbones = self.backbones
        return backbones[0].device if backbones else self.weights[0].value.device

    def make_train_function(self, force=False):
        """Build the training step and choose the update it ends with."""
        self._watch = self._captured = None
        self._renew_update(self.trainable_variables)
        if self._device.type == "cuda":
            if self._update is not None:
                self._watch = LossWatch(self._device, self._tolerates_nan)
            if self._jit_compile_asked and not self.run_eagerly and self._head is None:
                self._captured = CapturedSteps(self)
        return super().make_train_function(force)

    def __call__(self, inputs, *args, **kwargs):
        """Run the model; on features only its head."""
        if self._head is not None and torch.is_tensor(inputs):
            return self._head(inputs, *args, **kwargs)
        return super().__call__(inputs, *args, **kwargs)

    @property
    def losses(self):
        """What layers and regularizers add to the loss; on features only the head's."""
        return super().losses if self._head is None else self._head.losses

    def _symbolic_build(self, iterator=None, data_batch=None):
        # Features have not the structure of the inputs that Keras would trace with.
        if self._head is None:
            super()._symbolic_build(iterator=iterator, data_batch=data_batch)

    # torch.compile would trace the probe that times products, and its own gradients.
    @torch.compiler.disable
    def train_step(self, data):
        """Run one step: forward, loss, backward, update, metrics."""
        variables = self.trainable_variables  # collecting them takes a while
        if not variables:
            return super().train_step(data)
        self._renew_update(variables)
        device = self._device
        if device.type != "cuda":
            return self._train(data)
        with self._host_numbers:
            return self._train(send(data, device))

    def _train(self, data):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        first = next(leaf for leaf in tree.flatten(x) if leaf is not None)
        captured = self._captured
        results = captured.run(x, y, sample_weight) if captured is not None else None
        loss, y_pred = results or self._run_step(x, y, sample_weight)
        self._loss_tracker.update_state(loss, sample_weight=first.shape[0])
        return self.compute_metrics(x, y, y_pred, sample_weight=sample_weight)

    def _run_step(self, x, y, sample_weight):
        """Update the weights; return the loss and the predictions from before."""
        loss, y_pred, gradients = self._differentiate_in_memory(x, y, sample_weight)
        if self._watch is not None:
            update = self._update
            assert update is not None
            skip = self._watch.check(loss, y_pred, update.iteration)
            update.apply(gradients, skip)
        elif self._is_sound(loss, y, y_pred, sample_weight):
            self._update_weights(gradients)
        return loss, y_pred

    def _list_callbacks(self, callbacks, fed: tuple, params: dict):
        """Keep Keras from reading the logs of every batch off a GPU."""
        known = isinstance(callbacks, keras.callbacks.CallbackList)
        if known or self._device.type != "cuda":
            return callbacks
        return LazyCallbacks(
            callbacks,
            self.check_losses,
            add_history=True,
            add_progbar=params["verbose"] != 0,
            model=self,
            steps=count_steps(*fed),
            **params,
        )

    def fit(self, *args, **kwargs):
        """Train; see `keras.Model.fit`."""
        self._updated = None  # the optimizer may have been set otherwise since
        try:
            history = super().fit(*args, **kwargs)
            self._say_what_was_captured()
        finally:
            self._captured = None  # it holds on to the GPU's memory
        self.check_losses()
        return history

    def _say_what_was_captured(self) -> None:
        sentence = self._captured.describe() if self._captured is not None else None
        if sentence is not None:
            _logger.warning("%s", sentence)

    def train_on_batch(self, *args, **kwargs):
        """Train on one batch; see `keras.Model.train_on_batch`."""
        logs = super().train_on_batch(*args, **kwargs)
        self.check_losses()
        return logs

    def test_step(self, data):
        """Evaluate a batch; see `keras.Model`."""
        if self._device.type != "cuda":
            return super().test_step(data)
        with self._host_numbers:
            return super().test_step(send(data, self._device))

    def check_losses(self) -> None:
        """Ask a GPU whether every loss so far was a number; waits for it.

        Raises:
            RuntimeError: one was not, and nothing that `fit` was given deals with it.
        """
        found = None if self._watch is None else self._watch.find()
        if found is not None:
            step, row = found
            where = "its batch" if row is None else f"row {row} of its batch"
            raise RuntimeError(describe_unsound("no number", step, where))

    def _differentiate_in_memory(self, x, y, sample_weight):
        batch = (x, y, sample_weight)
        with self._fast_products():
            if can_split(self.loss):
                weights = sample_weight if is_weighted(self.loss) else None
                return self._recovery.differentiate(self._differentiate, batch, weights)
            return self._differentiate(batch)

    def _differentiate(self, batch, plan: Plan | None = None):
        """Return the loss, the predictions and the gradients of a batch.

        Args:
            batch: inputs, labels and sample weights.
            plan: how the encoder runs it; `None` lets it find out.
        """
        x, y, sample_weight = batch
        self._plan = plan
        y_pred = self._predict_for_training(x)
        loss = self._compute_loss(
            x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=True
        )
        known = self._update.variables if self._update is not None else None
        values = [one.value for one in known or self.trainable_variables]
        scaled = self.optimizer.scale_loss(loss)
        gradients = torch.autograd.grad(scaled, values, allow_unused=True)
        return loss.detach(), y_pred, gradients

    def _predict_for_training(self, x):
        self._in_train_step = True
        try:
            return self(x, training=True)
        finally:
            self._in_train_step, self._plan = False, None

    def _compute_loss(self, x=None, y=None, y_pred=None, **kwargs):
        try:
            return super()._compute_loss(x=x, y=y, y_pred=y_pred, **kwargs)
        except IndexError as error:
            # torch's cross-entropy, which names neither row nor label
            raise find_wrong_label(y, y_pred) or error from None

    def _renew_update(self, variables: list[keras.Variable]) -> None:
        """Make the update that fits the optimizer and the weights that train now."""
        known = [id(one) for one in (self.optimizer, *variables)]
        known += [backbone.frozen_dropout for backbone in self.backbones]
        if known == self._updated:
            return
        if self._head is not None:
            self._check_still_frozen()
        if variables:
            self.build_optimizer()
        self._update, self._updated = build_update(self), known

    def _check_still_frozen(self) -> None:
        if any(not backbone.runs_frozen for backbone in self.backbones):
            raise RuntimeError(
                "the encoder was unfrozen while fit trains the head on its features. "
                "Unfreeze it after fit has returned, compile again and call fit again."
            )

    def _update_weights(self, gradients) -> None:
        if self._update is not None:
            self._update.apply(gradients)
            return
        with torch.no_grad():
            self.optimizer.apply(list(gradients), self.trainable_variables)

    def _fast_products(self):
        backbones = self.backbones
        dtype = backbones[0].compute_precision if backbones else torch.float32
        return use_fast_products(dtype, self._device)

    def _is_sound(self, loss, y, y_pred, sample_weight) -> bool:
        """Whether the loss is a number; asked where no watch asks the device."""
        if bool(torch.isfinite(loss)):
            return True
        if self._tolerates_nan:
            return False
        # An optimizer that scales the loss counts in the one that it wraps.
        counting = getattr(self.optimizer, "inner_optimizer", self.optimizer)
        step = int(counting._iterations.value)
        where = find_unsound(y, y_pred, sample_weight)
        raise RuntimeError(describe_unsound(float(loss), step, where))
