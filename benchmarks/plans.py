"""Which rows are trained on, in which order, by each side."""

from dataclasses import dataclass

import numpy as np

NUM_HELD_OUT = 64


@dataclass(frozen=True)
class Plan:
    """The same rows for both sides, warm-up first.

    Args:
        ours: int (num_steps * batch_size,), kbert's order: random.
        theirs: the opponent's order: the same as ours, or its own batches.
        held_out: rows that the loss after training is measured on.
        num_warmup: steps that are not timed.
        num_timed: steps that are.
    """

    ours: np.ndarray
    theirs: np.ndarray
    held_out: np.ndarray
    num_warmup: int
    num_timed: int

    @property
    def timed(self) -> np.ndarray:
        """The rows within the timed steps, in kbert's order."""
        return self.ours[-(self.num_timed * self.batch_size) :]

    @property
    def batch_size(self) -> int:
        """Rows a step."""
        return len(self.ours) // (self.num_warmup + self.num_timed)


def build_plan(
    lengths: np.ndarray,
    *,
    batch_size: int,
    num_warmup: int,
    num_timed: int,
    grouped: bool = False,
    largest_first: bool = False,
    seed: int = 0,
) -> Plan:
    """Choose rows and their order.

    Without `grouped` both sides train on identical batches. With it the opponent's
    batches are drawn from those that transformers' own `LengthGroupedSampler` makes of
    the whole workload, so that a short run pays for as little padding as a whole epoch
    would; kbert has the same rows in random order, the warm-up's apart.

    Args:
        lengths: real tokens of each row of the workload.
        batch_size: rows a step.
        num_warmup: steps that are not timed.
        num_timed: steps that are.
        grouped: whether the opponent groups by length.
        largest_first: put the largest batch of a grouped epoch first (for memory).
        seed: of the choice.
    """
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(lengths))
    num_held_out = min(NUM_HELD_OUT, len(lengths) // 4)
    held_out, order = order[:num_held_out], order[num_held_out:]
    count = num_warmup + num_timed
    if not grouped and not largest_first:
        rows = np.resize(order, count * batch_size)
        return Plan(rows, rows, held_out, num_warmup, num_timed)
    batches = _group(lengths, order, batch_size, seed)
    chosen = np.resize(generator.permutation(len(batches)), count)
    if largest_first:
        chosen[0] = np.argmax(lengths[batches].max(axis=1))
    theirs = batches[chosen]
    ours = np.concatenate(
        [
            generator.permutation(part.reshape(-1))
            for part in np.split(theirs, [num_warmup])
        ]
    )
    theirs = theirs.reshape(-1)
    return Plan(ours, theirs if grouped else ours, held_out, num_warmup, num_timed)


def _group(lengths, rows, batch_size: int, seed: int) -> np.ndarray:
    """Return a grouped epoch's batches, int (num_batches, batch_size)."""
    import torch
    from transformers.trainer_pt_utils import LengthGroupedSampler

    rows = np.resize(rows, max(len(rows), batch_size))
    sampler = LengthGroupedSampler(
        batch_size,
        lengths=lengths[rows].tolist(),
        generator=torch.Generator().manual_seed(seed),
    )
    order = rows[np.array(list(sampler))]
    num_batches = len(order) // batch_size
    return order[: num_batches * batch_size].reshape(num_batches, batch_size)


def count_padded_tokens(lengths, rows, batch_size: int, length: int | None) -> int:
    """Count the tokens, padding included, that a side computes.

    Args:
        lengths: real tokens of each row of the workload.
        rows: trained on, in order.
        batch_size: rows a batch.
        length: what every row is padded to, or `None` for the longest of its batch.
    """
    if length is not None:
        return len(rows) * length
    return int(lengths[rows].reshape(-1, batch_size).max(axis=1).sum()) * batch_size
