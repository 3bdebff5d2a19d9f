"""Training steps that a GPU replays, so that short batches do not wait for the host.

A step of a small encoder is some hundred kernels, each over before the host has queued
the next. `torch.cuda.graphs` records all of them once for a shape of batch, from the
forward pass to the update, and queues them as one from then on. `torch.compile` can do
so, too, but needs a compiler, compiles anew for each shape, and breaks the graph where
Keras or the engine asks the host; a recording only needs a step that asks nothing.
The first replay of each recording is compared with the very step it repeats.

What is read of the host while a step is recorded stays as it was. So all that changes
from step to step (the batch, learning rate and count of updates, dropout's seed) is
written to the memory that the recording reads, before each replay; and a step about
which not everything is known is not recorded but runs as ever.
"""

import collections
import gc
import logging
import time
from typing import Any

import torch
from keras import tree

from kbert.engine.buckets import Bucket, Plan, find_bucket, join, take_apart
from kbert.engine.dropout import Dropout
from kbert.engine.inputs import check_batch, check_dtypes, explain
from kbert.engine.packing import build_packing
from kbert.engine.recordable import find_dropouts, find_obstacle
from kbert.engine.transfer import get_host_copy, has_host_copy

# Shapes that are recorded; batches of any other run as ever.
MOST_SHAPES = 8
# Longer steps run as ever: their kernels keep a GPU busy by themselves, and filler
# costs them most. `benchmarks.captured --most-tokens` asks where that begins.
MOST_TOKENS = 8192
# Steps that run as ever until a shape that has come so often is worth a recording; and
# steps that it then runs in its own memory, so that every kernel is loaded.
NUM_SIGHTINGS = 2
NUM_WARM_UPS = 1
# A first replay's loss and update may be off by so much of themselves: attention's
# gradients add up in any order, and Adam makes steps of any size of what is left of
# gradients that are zero.
_MOST_ERROR = 0.1

_logger = logging.getLogger("kbert")


class CapturedSteps:
    """The recorded training steps of a model during one `fit`.

    Args:
        model: an `EngineModel` on a CUDA GPU, whose step is known to be one update.

    Attributes:
        num_replays: steps that were replayed.
        recording_seconds: time that recording took.
    """

    def __init__(self, model: Any):
        self._model = model
        self._shapes: dict[tuple, _Shape] = {}
        self._sightings: collections.Counter = collections.Counter()
        self._num_steps = self.num_replays = 0
        self.recording_seconds = 0.0
        self._is_known = self._is_off = False
        self._most_rows = 0
        self._pool: Any = None
        self._dropout: Dropout | None = None
        self._seed = 0

    def run(self, x: Any, y: Any, sample_weight: Any) -> tuple | None:
        """Run one step, update included, if it is one that can be recorded.

        Args:
            x: inputs, as `transfer.send` gave them.
            y: labels on the GPU.
            sample_weight: on the GPU, or `None`.

        Returns:
            The loss and the predictions, good until the next step; `None` when
            nothing has been done.

        Raises:
            ValueError: the inputs are wrong, as `Backbone.encode` says it.
        """
        self._num_steps += 1
        if self._is_off or self._num_steps == 1:  # as in `train_on_batch`
            return None
        if self._model._recovery.num_parts > 1:
            self._give_up("there is no memory for a whole batch")
        if self._is_off or not self._knows_model():
            return None
        inputs = self._read_inputs(x)
        if inputs is None:
            return None
        bucket = find_bucket(inputs["padding_mask"])
        shape = self._find_shape(bucket, (y, sample_weight))
        if shape is None:
            return None
        joined = self._join(bucket, inputs, x)
        try:
            return self._run(shape, joined, (y, sample_weight))
        except Exception as error:  # whatever it is, the step can run as ever
            self._give_up(_describe(error))
            return None

    def describe(self) -> str | None:
        """Say how much was recorded, if anything was."""
        count = sum(shape.graph is not None for shape in self._shapes.values())
        if not count:
            return None
        return (
            f"Training steps of {count} shapes of batch were recorded on the GPU in "
            f"{self.recording_seconds:.1f} s; {self.num_replays} of "
            f"{self._num_steps} steps were replayed."
        )

    def _knows_model(self) -> bool:
        """Find out, once, whether anything speaks against recording."""
        if not self._is_known:
            self._is_known = True
            obstacle = find_obstacle(self._model)
            if obstacle is not None:
                self._give_up(obstacle)
                return False
            self._state = _State(self._model)
        if self._state.is_current():
            return True
        self._shapes.clear()  # they would go on with what was replaced
        self._state = _State(self._model)
        return False

    def _give_up(self, reason: str) -> None:
        self._is_off = True
        self._shapes.clear()
        model = self._model
        if model._said_not_captured != reason:
            model._said_not_captured = reason
            _logger.warning(
                "The training step is not recorded on the GPU: %s. It runs kernel by "
                "kernel, to the same effect.",
                reason,
            )

    def _read_inputs(self, x: Any) -> dict[str, torch.Tensor] | None:
        """Return the host's copy of a batch's inputs, if it has one."""
        names = self._model.backbones[0].config.input_names
        inputs = {}
        for name in names:
            value = x.get(name) if isinstance(x, dict) else None
            if not isinstance(value, torch.Tensor) or value.ndim != 2:
                return None
            if not has_host_copy(value):
                return None
            inputs[name] = get_host_copy(value)
        return inputs

    def _find_shape(self, bucket: Bucket, labels: tuple) -> "_Shape | None":
        """Return the memory of a shape that comes often enough."""
        self._most_rows = max(self._most_rows, bucket.num_rows)
        leaves = tree.flatten(labels)
        if bucket.num_rows < self._most_rows or not all(
            leaf is None or torch.is_tensor(leaf) for leaf in leaves
        ):
            return None  # the last batch of an epoch, as a rule
        kinds = [leaf if leaf is None else (leaf.shape, leaf.dtype) for leaf in leaves]
        key = (bucket, *kinds)
        if key in self._shapes:
            return self._shapes[key]
        self._sightings[key] += 1
        if self._sightings[key] <= NUM_SIGHTINGS or bucket.num_tokens > MOST_TOKENS:
            return None
        if len(self._shapes) >= MOST_SHAPES:
            return None
        shape = _Shape(self._model, bucket, labels)
        self._shapes[key] = shape
        return shape

    def _join(self, bucket: Bucket, inputs: dict, x: Any) -> torch.Tensor:
        """Check a batch and join it, on the host."""
        model = self._model
        check_dtypes(x, model.inputs)
        try:
            backbone = model.backbones[0]
            check_batch(inputs, backbone.config, model._reads[id(backbone)])
            packing = build_packing(inputs["padding_mask"], None)
        except ValueError as error:
            raise explain(error) from None
        return join(bucket, inputs, packing)

    def _run(self, shape: "_Shape", joined: torch.Tensor, labels: tuple) -> tuple:
        update = self._model._update
        shape.load(joined, update.list_numbers(), labels)
        self._draw_seed()
        if shape.num_runs < NUM_WARM_UPS:
            result = self._compute(shape)
        elif shape.graph is None:
            self._record(shape)
            result = self._replay_and_compare(shape)
        else:
            result = self._replay(shape)
        shape.num_runs += 1
        update.count_step()
        return result

    def _draw_seed(self) -> None:
        backbone = self._model.backbones[0]
        if backbone.config.dropout and not backbone.runs_frozen:
            self._seed = backbone.draw_seed()
            if self._dropout is None:
                rate, device = backbone.config.dropout, self._model._device
                self._dropout = Dropout(rate, self._seed, device)
        self._reseed()

    def _reseed(self) -> None:
        if self._dropout is not None:
            self._dropout.reseed(self._seed)

    def _compute(self, shape: "_Shape") -> tuple:
        """Queue all of a step's kernels; reads and writes the shape's memory only."""
        model = self._model
        inputs, packing = take_apart(shape.bucket, shape.names, shape.joined)
        batch = (inputs, *shape.labels)
        plan = Plan(packing, self._dropout)
        loss, y_pred, gradients = model._differentiate(batch, plan)
        skip = model._watch.check(loss, y_pred, model.optimizer._iterations.value)
        model._update.apply_recorded(gradients, shape.numbers, skip)
        return loss, tree.map_structure(torch.Tensor.detach, y_pred)

    def _record(self, shape: "_Shape") -> None:
        started = time.perf_counter()
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        # A graph of gradients that is still alive ties the weights to the stream it
        # was made on, which the recording, on another, must not touch.
        gc.collect()
        graph = torch.cuda.CUDAGraph()
        # Another thread copies the next batch meanwhile, which is its own affair.
        where = torch.cuda.graph(
            graph, pool=self._pool, capture_error_mode="thread_local"
        )
        try:
            with self._model._host_numbers.recording(), where:
                shape.result = self._compute(shape)
        except Exception:
            _renew_generator(self._model._device)
            raise
        shape.graph = graph
        self.recording_seconds += time.perf_counter() - started

    def _replay(self, shape: "_Shape") -> tuple:
        shape.graph.replay()
        self.num_replays += 1
        return shape.result

    def _replay_and_compare(self, shape: "_Shape") -> tuple:
        """Replay a recording for the first time, beside the step it was made from.

        A recording that went wrong in silence would be found out by nobody else.
        """
        weights = [v.value.detach() for v in self._model._update.variables]
        before = _Snapshot(self._model)
        try:
            start = [torch.zeros((), device=self._model._device)]
            start += [weight.clone() for weight in weights]
            loss, _ = self._compute(shape)
            expected = [loss.clone(), *(weight.clone() for weight in weights)]
            before.restore()
            self._reseed()
            result = self._replay(shape)
            if not _is_alike([result[0], *weights], expected, start):
                raise RuntimeError("a replay came to other weights than its step")
        except Exception:
            before.restore()  # the step has yet to run
            raise
        return result


class _Shape:
    """The memory that the steps of one shape read, and their recording."""

    def __init__(self, model: Any, bucket: Bucket, labels: tuple):
        device = model._device
        self.bucket = bucket
        self.names = model.backbones[0].config.input_names
        shapes = bucket.list_places(self.names).values()
        size = sum(torch.Size(shape).numel() for shape in shapes)
        self.joined = torch.zeros(size, dtype=torch.int64, device=device)
        count = len(model._update.list_numbers())
        self.numbers = torch.zeros(count, dtype=torch.float32, device=device)
        self.labels = tree.map_structure(
            lambda leaf: leaf if leaf is None else torch.empty_like(leaf), labels
        )
        self.num_runs = 0
        self.graph: Any = None
        self.result: tuple = ()

    def load(self, joined: torch.Tensor, numbers: list[float], labels: tuple) -> None:
        """Queue the copies of what a step reads."""
        self.joined.copy_(joined.pin_memory(), non_blocking=True)
        host = torch.tensor(numbers, dtype=torch.float32)
        self.numbers.copy_(host.pin_memory(), non_blocking=True)
        pairs = zip(tree.flatten(self.labels), tree.flatten(labels), strict=True)
        for own, leaf in pairs:
            if own is not None:
                own.copy_(leaf, non_blocking=True)


class _Snapshot:
    """A copy of all that the kernels of a step may change.

    Counters and rates are not among it, and the host goes by its copies of them only
    as long as nobody writes to them.
    """

    def __init__(self, model: Any):
        optimizer = model.optimizer
        variables = [*model.weights, *model.metrics_variables]
        variables += [*optimizer._momentums, *optimizer._velocities]
        unique = {id(one): one.value.detach() for one in variables}
        self._pairs = [(tensor, tensor.clone()) for tensor in unique.values()]

    def restore(self) -> None:
        """Put it back in place."""
        for tensor, copy in self._pairs:
            tensor.copy_(copy)


def _is_alike(found: list, expected: list, before: list) -> bool:
    """Whether values changed as expected, but for the order of sums; waits for it.

    The first of them, the loss, counts by itself.
    """
    errors = torch._foreach_norm(torch._foreach_sub(found, expected))
    changes = torch._foreach_norm(torch._foreach_sub(expected, before))
    error, change = torch.stack(errors), torch.stack(changes)
    is_alike = (error[0] <= _MOST_ERROR * change[0]) & (
        torch.linalg.vector_norm(error[1:])
        <= _MOST_ERROR * torch.linalg.vector_norm(change[1:])
    )
    return bool(is_alike)


class _State:
    """What a recording takes for granted, to notice when somebody changes it."""

    def __init__(self, model: Any):
        self._model = model
        variables = [*model.weights, *model.optimizer.variables]
        # The tensors are kept, so that no other can come to have their identity.
        self._tensors = [(variable, variable._value) for variable in variables]
        self._dropouts = find_dropouts(model)
        self._weights = model.weights
        self._settings = self._read_settings()

    def is_current(self) -> bool:
        """Whether all is as it was."""
        return (
            all(variable._value is tensor for variable, tensor in self._tensors)
            and self._read_settings() == self._settings
        )

    def _read_settings(self) -> list:
        optimizer, backbone = self._model.optimizer, self._model.backbones[0]
        names = ("beta_1", "beta_2", "epsilon", "weight_decay", "global_clipnorm")
        return [
            *(getattr(optimizer, name) for name in (*names, "loss_scale_factor")),
            *(layer.rate for layer in self._dropouts),
            *(variable.trainable for variable in self._weights),
            backbone.precision,
            backbone.frozen_dropout,
        ]


def _describe(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200].rstrip(".")


def _renew_generator(device: torch.device) -> None:
    """Give torch's generator another state.

    One that was part of a failed recording would refuse to draw from then on.
    """
    own = torch.cuda.default_generators[device.index or 0]
    state = torch.Generator(device).graphsafe_get_state()
    own.graphsafe_set_state(state)
