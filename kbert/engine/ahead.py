"""The next batch is made, and on its way to the GPU, while this one is trained on."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from keras import tree

from kbert.engine.transfer import send


class Ahead:
    """Batches for a GPU, each made in a background thread while the one before runs.

    Args:
        build: makes the batch of an index, a structure of arrays.
        num_batches: how many there are.
        device: a CUDA GPU.
    """

    def __init__(
        self, build: Callable[[int], Any], num_batches: int, device: torch.device
    ):
        self._build, self._num_batches = build, num_batches
        self._device = device
        self._stream: torch.cuda.Stream | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="kbert-batches")
        self._next: tuple[int, Future] | None = None

    def __getitem__(self, index: int) -> Any:
        """Return a batch on the device, and begin with the one behind it."""
        made = self._next[1] if self._next and self._next[0] == index else None
        if made is None:
            self.forget()
            made = self._pool.submit(self._make, index)
        batch, is_copied = made.result()
        self._next = None
        if index + 1 < self._num_batches:
            self._next = index + 1, self._pool.submit(self._make, index + 1)
        self._join(batch, is_copied)
        return batch

    def forget(self) -> None:
        """Drop what was made ahead: the order of the batches is about to change."""
        if self._next is not None:
            self._next[1].exception()  # waits, so that nothing is read meanwhile
        self._next = None

    def _make(self, index: int) -> tuple[Any, torch.cuda.Event]:
        """Make a batch and queue its copy beside what the GPU computes."""
        batch = self._build(index)
        if self._stream is None:
            self._stream = torch.cuda.Stream(self._device)
        with torch.cuda.stream(self._stream):
            return send(batch, self._device), self._stream.record_event()

    def _join(self, batch: Any, is_copied: torch.cuda.Event) -> None:
        """Let the GPU, not the host, wait for the copy."""
        stream = torch.cuda.current_stream(self._device)
        stream.wait_event(is_copied)
        for leaf in tree.flatten(batch):
            if leaf is not None:
                leaf.record_stream(stream)
