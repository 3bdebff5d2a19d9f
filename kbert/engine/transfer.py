"""Between the host and a GPU: what the one needs of the other without waiting for it.

A GPU runs behind the host, which only queues its work. Reading a value of a GPU, or
copying to it from memory that is not pinned, makes the host wait until all that was
queued is done; one such place in a training step costs all that running ahead gains.
"""

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import keras
import torch
from keras import tree
from torch.overrides import TorchFunctionMode

_NUMBERS = (bool, int, float)
# Numbers of a shape, say, that a device fills in sooner than a copy is queued.
_FEW = 4


def send(batch: Any, device: torch.device) -> Any:
    """Start copying a batch to a GPU; the host keeps what it sent.

    Args:
        batch: a structure of arrays, tensors and `None`.
        device: where to; on anything but a CUDA GPU the batch stays as it is.

    Returns:
        The structure with tensors on the device, the host's copy attached to each.
    """
    if device.type != "cuda":
        return batch
    return tree.map_structure(lambda leaf: _send_one(leaf, device), batch)


def _send_one(leaf: Any, device: torch.device) -> Any:
    if leaf is None or (torch.is_tensor(leaf) and leaf.device.type != "cpu"):
        return leaf
    with keras.device("cpu"):
        host = keras.ops.convert_to_tensor(leaf)
    sent = host.pin_memory().to(device, non_blocking=True)
    sent._kbert_host = host
    return sent


def has_host_copy(tensor: torch.Tensor) -> bool:
    """Whether the host can read a tensor's values without waiting."""
    return tensor.device.type == "cpu" or hasattr(tensor, "_kbert_host")


def get_host_copy(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor's values on the CPU: what was sent, else by waiting for them."""
    host = getattr(tensor, "_kbert_host", None)
    return tensor.to("cpu") if host is None else host


def take_rows(leaf: Any, rows: slice) -> Any:
    """Take rows of an array or tensor, and of what the host kept of it."""
    if leaf is None:
        return None
    part = leaf[rows]
    if hasattr(leaf, "_kbert_host"):
        part._kbert_host = leaf._kbert_host[rows]
    return part


class HostNumbers(TorchFunctionMode):
    """Lets Keras make tensors of the host's values without waiting for the GPU.

    A loss or a metric of Keras turns numbers, shapes and arrays into tensors on its
    device, each by a copy that waits. Within this mode the device fills a number in
    by itself, and everything else goes through pinned memory.
    """

    def __init__(self) -> None:
        super().__init__()
        self._is_entered = False
        self._is_recording = False

    def __enter__(self):
        self._is_entered = True
        return super().__enter__()

    def __exit__(self, *raised):
        self._is_entered = False
        return super().__exit__(*raised)

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        """Refuse copies of the host's memory, of which a replay would find the rest."""
        self._is_recording = True
        try:
            yield
        finally:
            self._is_recording = False

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the mode, if it was entered, for a block that needs no help."""
        if not self._is_entered:
            yield
            return
        self.__exit__(None, None, None)
        try:
            yield
        finally:
            self.__enter__()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """Run a function of torch, unless it would copy to a GPU and wait."""
        kwargs = dict(kwargs or {})
        if func in (torch.as_tensor, torch.tensor):
            device = torch.device(kwargs.get("device") or "cpu")
            if device.type == "cuda":
                return self._make(func, args, kwargs, device)
        elif func is torch.Tensor.to and len(args) > 1 and _is_on_host(args[0]):
            if isinstance(args[1], (str, torch.device)):
                device = torch.device(args[1])
                if device.type == "cuda":
                    return self._copy(args[0], device).to(*args[2:], **kwargs)
        return func(*args, **kwargs)

    def _make(self, func, args, kwargs, device):
        value = args[0]
        if kwargs.keys() - {"dtype", "device"}:
            return func(*args, **kwargs)
        if isinstance(value, _NUMBERS):
            return torch.full((), value, dtype=kwargs.get("dtype"), device=device)
        if torch.is_tensor(value) and not _is_on_host(value):
            return func(*args, **kwargs)
        host = func(*args, **kwargs | {"device": "cpu"})
        if isinstance(value, (tuple, list)) and host.ndim == 1:
            if 0 < len(host) <= _FEW and all(isinstance(x, _NUMBERS) for x in value):
                fill = functools.partial(torch.full, (), dtype=host.dtype)
                return torch.stack([fill(x, device=device) for x in value])
        return self._copy(host, device)

    def _copy(self, host: torch.Tensor, device: torch.device) -> torch.Tensor:
        if self._is_recording:
            raise RuntimeError("it copies values from the host in every step")
        return host.pin_memory().to(device, non_blocking=True)


def _is_on_host(tensor: torch.Tensor) -> bool:
    return tensor.device.type == "cpu"


class Mirror:
    """The host's copy of a small variable, read again only after others wrote to it.

    Args:
        variable: of a few numbers, on any device.
    """

    def __init__(self, variable: keras.Variable):
        self.variable = variable
        self._tensor: Any = None
        self._version, self._values = -1, None

    def read(self) -> Any:
        """Return the values, a number or a list."""
        tensor = self.variable.value
        if tensor is not self._tensor or tensor._version != self._version:
            self._remember(tensor, tensor.tolist())
        return self._values

    def count(self) -> Any:
        """Add 1 to the last value, here and on the device; return what was before."""
        before, tensor = self.read(), self.variable.value
        with torch.no_grad():
            tensor.view(-1)[-1:].add_(1)
        is_list = isinstance(before, list)
        after = [*before[:-1], before[-1] + 1] if is_list else before + 1
        self._remember(tensor, after)
        return before

    def _remember(self, tensor: torch.Tensor, values: Any) -> None:
        # Every write raises the version, so an unknown one means somebody else's.
        self._tensor, self._version, self._values = tensor, tensor._version, values


def follow(variable: keras.Variable, mirror: Mirror | None) -> Mirror:
    """Return the mirror of a variable: the one at hand, if it is this variable's."""
    if mirror is not None and mirror.variable is variable:
        return mirror
    return Mirror(variable)


class LossWatch:
    """Notices a loss that is no number where it is computed, and tells later.

    From such a step on no weight changes, so that the weights are still those from
    before when the host hears of it.

    Args:
        device: of the loss.
        is_tolerant: whether to leave out only the steps with such a loss, and never
            to tell.
    """

    def __init__(self, device: torch.device, is_tolerant: bool):
        self._is_tolerant = is_tolerant
        # The step, and a row whose outputs are no numbers.
        self._first = torch.full((2,), -1, dtype=torch.int64, device=device)

    def check(
        self, loss: torch.Tensor, outputs: Any, step: int | torch.Tensor
    ) -> torch.Tensor:
        """Look at a step.

        Args:
            loss: float32 ().
            outputs: that it was computed from, each (batch, ...).
            step: its number, from 0.

        Returns:
            float32 (), 1 when the update must be left out.
        """
        unsound = ~torch.isfinite(loss)
        if not self._is_tolerant:
            if not isinstance(step, torch.Tensor):
                step = self._first.new_full((), step)
            # Filling in with a value that is on the GPU would wait for it.
            found = torch.stack([step.to(self._first.dtype), _find_row(outputs)])
            is_first = unsound & (self._first[0] < 0)
            self._first.copy_(torch.where(is_first, found, self._first))
            unsound = self._first[0] >= 0
        return unsound.float()

    def find(self) -> tuple[int, int | None] | None:
        """Wait for the device and ask it.

        Returns:
            The first step without a sound loss, and a row of its batch whose outputs
            are no numbers, if there is one; `None` where all was sound.
        """
        step, row = self._first.tolist()
        return None if step < 0 else (step, None if row < 0 else row)


def _find_row(outputs: Any) -> torch.Tensor:
    """Return int64 (), a row in which an output is no number; -1 if there is none."""
    leaves = tree.flatten(outputs)
    rows = [one.detach() for one in leaves if len(one) == len(leaves[0])]
    wrong = torch.stack([~torch.isfinite(x).reshape(len(x), -1).all(1) for x in rows])
    return wrong.any(0).int().argmax().masked_fill(~wrong.any(), -1)
