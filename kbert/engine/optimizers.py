"""Optimizer updates: one fused call for the optimizers that are known.

Keras's own path takes one pass over memory for every term of an update. The fused path
reads and writes a Keras optimizer's own variables, so that saving, resuming and
callbacks see no difference, and does clipping, decay and update in one torch call,
for a table with a sparse gradient in one for every block of its rows.
"""

from collections.abc import Iterator, Sequence

import keras
import torch

from kbert.engine.adamw import AdamW
from kbert.engine.transfer import Mirror, follow

# So many updates that no bias is left to correct.
_ENDLESS = 1e9
# Of a sparse gradient that are laid out at once: the whole would be as large as the
# table, nearly all zeros.
_BLOCK_VALUES = 2**20


def _is_adam(optimizer) -> bool:
    # Keras makes torch-specific subclasses of exactly its own classes.
    return type(optimizer) is AdamW or _is_exactly(optimizer, "Adam", "AdamW")


def _is_exactly(optimizer, *names: str) -> bool:
    kind = type(optimizer)
    return kind.__module__.startswith("keras.src.") and kind.__name__ in names


def can_fuse(optimizer) -> bool:
    """Whether `FusedUpdate` knows this optimizer and all that it was asked to do."""
    known = (_is_adam(optimizer) and not optimizer.amsgrad) or _is_exactly(
        optimizer, "SGD"
    )
    return known and not (
        optimizer.use_ema or optimizer.clipnorm or optimizer.clipvalue
    )


class FusedUpdate:
    """Applies gradients through a known optimizer's own variables.

    Args:
        optimizer: one that `can_fuse` accepts, built.
        variables: the trainable variables, in the order of the gradients.
    """

    def __init__(self, optimizer, variables: Sequence[keras.Variable]):
        self.optimizer = optimizer
        self.variables = list(variables)
        self._iterations = Mirror(optimizer._iterations)
        self._rate: Mirror | None = None
        self._multipliers = list(dict.fromkeys(map(self._get_multiplier, variables)))

    @property
    def iteration(self) -> int:
        """Number of steps before this one."""
        return self._iterations.read()

    @torch.no_grad()
    @torch.compiler.disable
    def apply(
        self,
        gradients: Sequence[torch.Tensor | None],
        skip: torch.Tensor | None = None,
    ) -> None:
        """Accumulate, clip, decay and update; count the step.

        Args:
            gradients: one a variable; `None` where the loss does not depend on it.
                The token table's may be sparse.
            skip: float32 (), 1 to change no weight and no moment; a tensor, so that
                the host need not know.
        """
        optimizer = self.optimizer
        pairs = self._pair(gradients)
        steps = optimizer.gradient_accumulation_steps or 1
        iteration = self.iteration
        if steps > 1:
            pairs = self._accumulate(pairs, skip)
        if pairs and (iteration + 1) % steps == 0:
            self._update(pairs, steps, iteration // steps + 1, skip)
            if steps > 1:
                torch._foreach_zero_([gradient for _, gradient in pairs])
        self.count_step()

    def count_step(self) -> None:
        """Count a step, here and in the optimizer's own counter."""
        self._iterations.count()

    @property
    def is_adam(self) -> bool:
        """Whether it is Adam or AdamW."""
        return _is_adam(self.optimizer)

    @property
    def can_record(self) -> bool:
        """Whether every step is one update that `apply_recorded` knows."""
        steps = self.optimizer.gradient_accumulation_steps or 1
        return self.is_adam and steps == 1

    def list_numbers(self) -> list[float]:
        """Return the numbers of the next update, which differ from step to step.

        Returns:
            Its count, from 1; what Keras makes of the bias corrections; and the
            learning rate for every multiplier there is.
        """
        optimizer, step = self.optimizer, self.iteration + 1
        rate = self._read_rate(step)
        correction = (1 - optimizer.beta_2**step) ** 0.5 / (1 - optimizer.beta_1**step)
        return [float(step), correction, *(rate * one for one in self._multipliers)]

    @torch.no_grad()
    @torch.compiler.disable
    def apply_recorded(
        self,
        gradients: Sequence[torch.Tensor | None],
        numbers: torch.Tensor,
        skip: torch.Tensor,
    ) -> None:
        """Clip, decay and update as `apply` does, from numbers that are on the device.

        Whatever is read of the host here stays as it is in a recorded step, which is
        why `list_numbers` is apart and nothing is counted.

        Args:
            gradients: one a variable, dense; `None` where the loss does not depend
                on it.
            numbers: float32, the values of `list_numbers`.
            skip: float32 (), 1 to change no weight and no moment.
        """
        optimizer = self.optimizer
        pairs = self._pair(gradients)
        factor = self._compute_factor([gradient for _, gradient in pairs], steps=1)
        count, correction, *rates = numbers.unbind()
        for (multiplier, decay), members in self._group(pairs).items():
            rate, own_count = rates[self._multipliers.index(multiplier)], count
            if type(optimizer) is not AdamW:
                # Keras adds epsilon before the bias correction, torch after it. A
                # recorded epsilon cannot follow, so the rate does, and torch sees no
                # bias; decay goes by the rate as it was.
                if decay:
                    weights = [variable.value for variable, _ in members]
                    torch._foreach_mul_(weights, 1 - rate * decay * (1 - skip))
                rate, decay = rate * correction, 0.0
                own_count = torch.full_like(count, _ENDLESS)
            epsilon = optimizer.epsilon
            self._update_adam(members, rate, decay, epsilon, factor, own_count, skip)

    def _pair(self, gradients) -> list:
        # The fused update reads memory end to end; a permuted kernel's would not do.
        pairs = zip(self.variables, gradients, strict=True)
        dense = ((v, g) for v, g in pairs if g is not None)
        return [(v, g.coalesce() if g.is_sparse else g.contiguous()) for v, g in dense]

    def _group(self, pairs) -> dict[tuple[float, float], list]:
        """Return the variables of each learning rate multiplier and weight decay."""
        optimizer = self.optimizer
        groups: dict[tuple[float, float], list] = {}
        for variable, gradient in pairs:
            decays = optimizer.weight_decay and optimizer._use_weight_decay(variable)
            decay = optimizer.weight_decay if decays else 0.0
            key = self._get_multiplier(variable), decay
            groups.setdefault(key, []).append((variable, gradient))
        return groups

    def _get_multiplier(self, variable) -> float:
        if type(self.optimizer) is not AdamW:
            return 1.0
        return self.optimizer.get_multiplier(variable)

    def _accumulate(self, pairs, skip=None):
        """Add gradients to the optimizer's accumulators and return these instead."""
        accumulated = []
        for variable, gradient in pairs:
            if skip is not None:  # no factor of 0 makes a NaN a number
                gradient = gradient.masked_fill(skip != 0, 0.0)
            index = self.optimizer._get_variable_index(variable)
            total = self.optimizer._accumulated_gradients[index].value
            total.add_(gradient)
            accumulated.append((variable, total))
        return accumulated

    def _read_rate(self, step: int) -> float:
        """Return the learning rate of an update, counted from 1.

        A schedule is computed on the CPU, so that nobody waits for its result.
        """
        rate = self.optimizer._learning_rate
        if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
            # Keras's schedules count steps, this package's optimizer updates.
            count = step - 1 if type(self.optimizer) is AdamW else self.iteration
            dtype = self.optimizer._iterations.value.dtype
            with keras.device("cpu"):
                return float(rate(torch.full((), count, dtype=dtype)))
        if not isinstance(rate, keras.Variable):
            return float(self.optimizer.learning_rate)
        self._rate = follow(rate, self._rate)
        return self._rate.read()

    def _update(self, pairs, steps: int, step: int, skip=None) -> None:
        factor = self._compute_factor([gradient for _, gradient in pairs], steps)
        self._update_groups(pairs, self._read_rate(step), step, factor, skip)

    def _update_groups(self, pairs, rate: float, step: int, factor, skip) -> None:
        optimizer = self.optimizer
        for (multiplier, decay), members in self._group(pairs).items():
            if _is_adam(optimizer):
                epsilon = optimizer.epsilon
                if type(optimizer) is not AdamW:
                    # Keras adds epsilon before the bias correction, torch after it.
                    epsilon /= (1 - optimizer.beta_2**step) ** 0.5
                rates = rate * multiplier, decay, epsilon
                count = torch.full((), float(step), device=factor.device)
                self._update_adam(members, *rates, factor, count, skip)
            else:
                self._update_sgd(members, rate, decay, factor, skip)

    def _compute_factor(self, gradients, steps: int) -> torch.Tensor:
        """Return what the summed gradients are divided by before the update."""
        divisor = float(steps) * (self.optimizer.loss_scale_factor or 1.0)
        first = gradients[0]
        if self.optimizer.global_clipnorm is None:
            return torch.full((), divisor, device=first.device)
        values = [g.values() if g.is_sparse else g for g in gradients]
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(values)))
        excess = norm / divisor / self.optimizer.global_clipnorm
        return excess.clamp(min=1.0) * divisor

    def _update_adam(self, members, rate, decay, epsilon, factor, count, skip) -> None:
        """Update from all dense gradients at once, from sparse ones block by block."""
        optimizer = self.optimizer

        def update(weights, gradients, momentums, velocities):
            torch._fused_adamw_(
                weights,
                gradients,
                momentums,
                velocities,
                [],
                [count] * len(weights),
                lr=rate,
                beta1=optimizer.beta_1,
                beta2=optimizer.beta_2,
                weight_decay=decay,
                eps=epsilon,
                amsgrad=False,
                maximize=False,
                grad_scale=factor,
                found_inf=skip,
            )

        dense = []
        for variable, gradient in members:
            index = optimizer._get_variable_index(variable)
            momentum = optimizer._momentums[index].value
            velocity = optimizer._velocities[index].value
            if not gradient.is_sparse:
                dense.append((variable.value, gradient, momentum, velocity))
                continue
            tensors = variable.value, momentum, velocity
            for rows, block in _lay_out(gradient):
                weight, first, second = (tensor[rows] for tensor in tensors)
                update([weight], [block], [first], [second])
        if dense:
            update(*map(list, zip(*dense, strict=True)))

    def _update_sgd(self, members, rate, decay, factor, skip) -> None:
        optimizer = self.optimizer
        weights = [variable.value for variable, _ in members]
        index = [optimizer._get_variable_index(variable) for variable, _ in members]
        momentum = optimizer.momentum
        velocities = [optimizer.momentums[i].value for i in index if momentum]
        changed = [*weights, *velocities] if skip is not None else []
        before = [one.clone() for one in changed]
        gradients = [g.to_dense() if g.is_sparse else g for _, g in members]
        updates = torch._foreach_div(gradients, factor)
        torch._foreach_mul_(updates, -rate)
        if decay:
            torch._foreach_mul_(weights, 1 - rate * decay)
        if momentum:
            torch._foreach_mul_(velocities, momentum)
            torch._foreach_add_(velocities, updates)
            if optimizer.nesterov:
                torch._foreach_add_(updates, velocities, alpha=momentum)
            else:
                updates = velocities
        torch._foreach_add_(weights, updates)
        for one, kept in zip(changed, before, strict=True):
            one.copy_(torch.where(skip != 0, kept, one))


def _lay_out(gradient: torch.Tensor) -> Iterator[tuple[slice, torch.Tensor]]:
    """Lay a sparse gradient out block by block.

    Args:
        gradient: (num_rows, width), coalesced.

    Yields:
        Rows, and their gradient: zero where there is none. It is overwritten when the
        next rows are asked for.
    """
    indices, values = gradient.indices()[0], gradient.values()
    num_rows, width = gradient.shape
    size = max(1, _BLOCK_VALUES // width)
    stops = [*range(size, num_rows, size), num_rows]
    ends = torch.searchsorted(indices, torch.tensor(stops)).tolist()
    memory = values.new_zeros(min(size, num_rows), width)
    start = begin = 0
    for stop, end in zip(stops, ends, strict=True):
        block, touched = memory[: stop - start], indices[begin:end] - start
        yield slice(start, stop), block.index_copy_(0, touched, values[begin:end])
        block.index_fill_(0, touched, 0.0)
        start, begin = stop, end
