"""CUDA graphs, played on the played GPU.

While one is recorded, every operation on the GPU's tensors is written down with the
memory that it reads and writes, and has no effect in the end, as on a real one. A
replay runs the operations again on that very memory and runs no Python: a number that
the host had in hand is what it was, which the tests would notice.
"""

import contextlib
import threading

import torch
from fake_gpu import FakeGpu
from torch.utils import _pytree as pytree


class Recorder:
    """Writes down what is computed."""

    def __init__(self):
        self.calls, self.saved, self.made = [], {}, {}
        self.thread = threading.get_ident()
        self.drawn = torch.get_rng_state()

    def run(self, func, *args, **kwargs):
        name = func.overloadpacket.__name__
        inputs = list_tensors((args, kwargs))
        if name in ("copy_", "_to_copy") and FakeGpu.current.pinned:
            hosts = [
                x for x in inputs if any(x is one for one in FakeGpu.current.pinned)
            ]
            assert not hosts, "the recording would read memory of the host"
        known = {find(x) for x in inputs}
        if func._schema.is_mutable:
            for x in inputs:
                if find(x) not in self.made and find(x) not in self.saved:
                    storage = x.untyped_storage()
                    self.saved[find(x)] = storage, storage.clone()
        out = func(*args, **kwargs)
        for x in list_tensors(out):
            if find(x) not in known:
                self.made[find(x)] = x
        self.calls.append((func, args, kwargs, out))
        return out

    def undo(self):
        """Leave all memory as it was, and rubbish in what is the graph's own."""
        torch.set_rng_state(self.drawn)
        for storage, before in self.saved.values():
            storage.copy_(before)
        for x in self.made.values():
            if x.is_floating_point():
                x.fill_(torch.nan)


class Graph:
    """Stands in for `torch.cuda.CUDAGraph`."""

    every: list = []

    def __init__(self):
        self.calls, self.num_replays = [], 0
        Graph.every.append(self)

    def replay(self):
        assert self.calls
        self.num_replays += 1
        with torch.no_grad():
            for func, args, kwargs, before in self.calls:
                out = func(*args, **kwargs)
                pairs = zip(list_tensors(before), list_tensors(out), strict=True)
                for old, new in pairs:
                    if old.numel() and old.data_ptr() != new.data_ptr():
                        old.copy_(new)


@contextlib.contextmanager
def record(graph, pool=None, capture_error_mode="global"):
    """Stand in for `torch.cuda.graph`."""
    gpu = FakeGpu.current
    assert gpu.recorder is None and pool == "pool"
    assert capture_error_mode == "thread_local"
    gpu.recorder = Recorder()
    try:
        yield
        graph.calls = gpu.recorder.calls
    finally:
        recorder, gpu.recorder = gpu.recorder, None
        with torch.no_grad():
            recorder.undo()


def play_graphs(monkeypatch):
    """Let torch record on the played GPU; return the list of graphs to come."""
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", record)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: "pool")
    monkeypatch.setattr(Graph, "every", [])
    return Graph.every


def list_tensors(values):
    return [x for x in pytree.tree_leaves(values) if torch.is_tensor(x)]


def find(tensor):
    return tensor.untyped_storage().data_ptr()
