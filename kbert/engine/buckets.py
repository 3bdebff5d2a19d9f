"""A few shapes for all batches, so that a GPU can replay a step that it ran before.

What is replayed has the sizes of its recording. So the packed tokens of a batch are
filled up to the next of a few numbers of tokens, and its columns to the next of a few
lengths. Filler tokens make up rows of their own: nobody attends to them or reads them,
so nothing comes of them and their gradients are zero.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch.nn import functional

from kbert.engine.dropout import Dropout
from kbert.engine.packing import TOKEN_MULTIPLE, Packing, round_up

_LEAST_LENGTH = 16
# Numbers of tokens from one power of two to the next. At eight of them at most a ninth
# of a long batch is filler, and few of them are met in a whole training.
_STEPS = 8


class Plan(NamedTuple):
    """How to run a padded batch: which tokens are real, and what drops values."""

    packing: Packing
    dropout: Dropout | None


@dataclass(frozen=True)
class Bucket:
    """A shape that batches are filled up to.

    Args:
        num_rows: texts a batch.
        length: columns, and tokens of the longest row at most.
        num_tokens: packed tokens, filler included.
    """

    num_rows: int
    length: int
    num_tokens: int

    @property
    def num_fillers(self) -> int:
        """Rows of filler; as many as keep each of them short."""
        return _count_fillers(self.num_rows)

    def list_places(self, names: Sequence[str]) -> dict[str, tuple[int, ...]]:
        """Return the shapes of all that a step reads of a batch's inputs.

        Args:
            names: of the inputs.

        Returns:
            The inputs, then the index tensors of the packing.
        """
        num_bounds = self.num_rows + self.num_fillers + 1
        return {name: (self.num_rows, self.length) for name in names} | {
            "index": (self.num_tokens,),
            "starts": (self.num_rows,),
            "packed_rows": (self.num_rows,),
            "bounds": (num_bounds,),
        }


def _count_fillers(num_rows: int) -> int:
    return num_rows // 4 + 1


def find_bucket(padding_mask: torch.Tensor) -> Bucket:
    """Find the shape that a batch is filled up to.

    Args:
        padding_mask: int or bool (num_rows, length) on the CPU, nonzero for tokens.
    """
    mask = padding_mask != 0
    num_rows, num_real = len(mask), int(mask.sum())
    used = mask.any(0).nonzero()
    num_columns = int(used[-1]) + 1 if len(used) else 1
    num_fillers = _count_fillers(num_rows)
    # Every filler row has a token at least.
    num_tokens = round_to_step(num_real) + round_up(num_fillers, TOKEN_MULTIPLE)
    longest_filler = -(-(num_tokens - num_real) // num_fillers)
    length = max(num_columns, longest_filler, _LEAST_LENGTH)
    return Bucket(num_rows, 1 << (length - 1).bit_length(), num_tokens)


def round_to_step(num_tokens: int) -> int:
    """Return the next number of tokens, a multiple of an eighth of a power of two."""
    power = 1 << max(0, num_tokens - 1).bit_length() >> 1
    return round_up(max(1, num_tokens), max(TOKEN_MULTIPLE, power // _STEPS))


@dataclass(frozen=True)
class BucketPacking(Packing):
    """A packing that is filled up; see `Packing`.

    `index` is (num_tokens,): of filler it is one position past the padded batch.
    """

    def gather(self, padded: torch.Tensor) -> torch.Tensor:
        """Take int (num_rows, length) to packed int64 (num_tokens,), 0 for filler."""
        return functional.pad(padded.reshape(-1), (0, 1)).long()[self.index]

    def compute_positions(self) -> torch.Tensor:
        """Return each packed token's column, int64 (num_tokens,)."""
        return self.index % self.length

    def scatter(self, packed: torch.Tensor) -> torch.Tensor:
        """Take packed (num_tokens, dim) to (num_rows, length, dim), zeros between."""
        dim = packed.shape[-1]
        places = packed.new_zeros(self.num_rows * self.length + 1, dim)
        places = places.index_copy(0, self.index, packed)
        return places[:-1].view(self.num_rows, self.length, dim)


def join(
    bucket: Bucket, inputs: Mapping[str, torch.Tensor], packing: Packing
) -> torch.Tensor:
    """Join all that a step reads of a batch's inputs, so that one copy sends it.

    Args:
        bucket: of the batch.
        inputs: int (num_rows, columns) on the CPU, in the order of `list_places`.
        packing: of the batch, for fused attention, on the CPU.

    Returns:
        int64 (places,) on the CPU.
    """
    length, num_rows = bucket.length, bucket.num_rows
    parts = []
    for value in inputs.values():
        value = value[:, :length].long()
        parts.append(functional.pad(value, (0, length - value.shape[1])).flatten())
    index = torch.full((bucket.num_tokens,), num_rows * length)
    rows, columns = packing.index // packing.length, packing.index % packing.length
    index[: packing.num_real_tokens] = rows * length + columns
    parts += [index, packing.starts, packing.packed_rows, _bound(bucket, packing)]
    return torch.cat(parts)


def _bound(bucket: Bucket, packing: Packing) -> torch.Tensor:
    """Return where each row and each row of filler begins, and where the last ends."""
    num_real, num_fillers = packing.num_real_tokens, bucket.num_fillers
    shares = torch.arange(num_fillers + 1) * (bucket.num_tokens - num_real)
    return torch.cat([packing.starts, num_real + shares // num_fillers])


def take_apart(
    bucket: Bucket, names: Sequence[str], joined: torch.Tensor
) -> tuple[dict[str, torch.Tensor], BucketPacking]:
    """Read what `join` wrote, on the device it was sent to.

    Args:
        bucket: of the batch.
        names: of the inputs.
        joined: int64 (places,).

    Returns:
        The inputs, int32 (num_rows, length), and their packing.
    """
    shapes = bucket.list_places(names)
    sizes = [torch.Size(shape).numel() for shape in shapes.values()]
    parts = dict(zip(shapes, joined.split(sizes), strict=True))
    inputs = {name: parts[name].view(shapes[name]).int() for name in names}
    packing = BucketPacking(
        num_rows=bucket.num_rows,
        length=bucket.length,
        num_tokens=bucket.num_tokens,
        index=parts["index"],
        starts=parts["starts"],
        packed_rows=parts["packed_rows"],
        groups=(),
        bounds=parts["bounds"].int(),
        longest=bucket.length,
    )
    return inputs, packing
