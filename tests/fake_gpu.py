"""A GPU that is played on a CPU: real numbers, and a list of all that would wait.

Its tensors hold their values on the CPU, say that they live on `cuda:0`, and compute
what a GPU would. What makes a host wait for a real one (reading a value, operations
whose result has a size that only the values tell, copies that are not both pinned and
asynchronous) is noted, and mixing a GPU's tensors with a CPU's is an error.
"""

import contextlib
import functools
import threading

import keras
import torch
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import (
    TorchDispatchMode,
    return_and_correct_aliasing,
)

DEVICE = torch.device("cuda", 0)
# Operations that read the device to know their result or its size.
WAITING = (
    "_local_scalar_dense",
    "nonzero",
    "equal",
    "is_nonzero",
    "masked_select",
    "_unique2",
    "unique_dim",
    "unique_consecutive",
    "bincount",
    "_coalesce",
    "repeat_interleave",
)
# Python asks its own tensor; these would never reach the operations above.
READING = {
    getattr(torch.Tensor, name)
    for name in ("cpu", "numpy", "tolist", "__array__", "__reduce_ex__")
}


class OnGpu(torch.Tensor):
    """A tensor on the played GPU."""

    @staticmethod
    def __new__(cls, inner):
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device="cpu",
        )
        made.inner = inner
        return made

    device = property(lambda self: DEVICE)
    is_cuda = property(lambda self: True)

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func in READING and isinstance(args[0], OnGpu):
            note(str(func))
            with torch._C.DisableTorchFunctionSubclass():
                return func(args[0].detach().inner, *args[1:], **kwargs)
        if func is torch.Tensor.to and isinstance(args[0], OnGpu):
            return move(args[0], *args[1:], **kwargs)
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **kwargs)

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return compute(func, args, kwargs or {})


def move(tensor, *args, **kwargs):
    """Do what `tensor.to` does: nothing, a change of dtype, or a copy to the host."""
    target = kwargs.pop("device", None)
    if args and isinstance(args[0], (str, torch.device)):
        target, args = args[0], args[1:]
    if target is not None and torch.device(target).type == "cpu":
        note("copy to the host")
        return tensor.detach().inner.clone().to(*args, **kwargs)
    if target is not None and torch.device(target).type != "cuda":
        return tensor.detach().inner.to(target, *args, **kwargs)
    kwargs.pop("non_blocking", None)
    if not args and not kwargs:
        return tensor
    with torch._C.DisableTorchFunctionSubclass():
        return tensor.to(*args, **kwargs)


class FakeGpu(TorchDispatchMode):
    """Makes tensors on `cuda` within a block; `waits` lists what would wait."""

    current = None

    def __init__(self, waits, pinned):
        super().__init__()
        self.waits, self.pinned = waits, pinned
        self.recorder = None

    @contextlib.contextmanager
    def entered_in_thread(self):
        """Play the GPU in another thread too; modes are a thread's own."""
        with FakeGpu(self.waits, self.pinned), NameGpu():
            yield

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if not _is_gpu(kwargs.get("device")):
            return func(*args, **kwargs)
        return compute(func, args, kwargs)


class NameGpu(TorchFunctionMode):
    """Says which GPU is meant by `cuda`; torch without CUDA cannot."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        device = kwargs.get("device")
        if func in (torch.as_tensor, torch.tensor) and _is_gpu(device):
            if isinstance(args[0], OnGpu):
                return move(*args, **kwargs)
            note("copy of a value of the host")
            return OnGpu(func(*args, **kwargs | {"device": "cpu"}))
        if func is torch.Tensor.to:
            named = [isinstance(x, (str, torch.device)) for x in args]
            args = [
                DEVICE if is_name and torch.device(x).type == "cuda" else x
                for x, is_name in zip(args, named, strict=True)
            ]
        return func(*args, **kwargs)


def _is_gpu(device):
    return device is not None and torch.device(device).type == "cuda"


def find_recorder():
    """Return what writes down the work of this thread; others go on beside it."""
    recorder = FakeGpu.current and FakeGpu.current.recorder
    is_own = recorder and recorder.thread == threading.get_ident()
    return recorder if is_own else None


def note(what):
    if FakeGpu.current is not None:
        FakeGpu.current.waits.append(what)
        if find_recorder() is not None:
            raise RuntimeError(f"not permitted while a graph is recorded: {what}")


def compute(func, args, kwargs):
    """Run an operation on the CPU for tensors of the GPU."""
    name = func.overloadpacket.__name__
    # These take a value of the GPU's over to the host first.
    fills = name in ("fill_", "masked_fill", "masked_fill_")
    takes = fills and isinstance(args[-1], OnGpu)
    if takes or name in WAITING or "bool" in _index_dtypes(name, args):
        note(name)
    leaves = pytree.tree_leaves((args, kwargs))
    hosts = [x for x in leaves if torch.is_tensor(x) and not isinstance(x, OnGpu)]
    if name in ("_to_copy", "copy_"):
        _note_copy(name, args, kwargs)
    elif any(host.ndim for host in hosts):
        raise AssertionError(f"{name} mixes tensors of the GPU and of the CPU")
    inner_args, inner_kwargs = pytree.tree_map_only(
        OnGpu, lambda x: x.inner, (args, kwargs)
    )
    if _is_gpu(inner_kwargs.get("device")):
        inner_kwargs = inner_kwargs | {"device": torch.device("cpu")}
    if inner_kwargs.get("pin_memory"):
        inner_kwargs = inner_kwargs | {"pin_memory": False}
    recorder = find_recorder()
    run = func if recorder is None else functools.partial(recorder.run, func)
    out = run(*inner_args, **inner_kwargs)
    if name == "_local_scalar_dense" or name == "equal":
        return out
    if name == "copy_" and not isinstance(args[0], OnGpu):
        return args[0]
    out = pytree.tree_map_only(torch.Tensor, OnGpu, out)
    return return_and_correct_aliasing(func, args, kwargs, out)


def _index_dtypes(name, args):
    """Return the dtypes of the indices of an operation that takes some."""
    if name not in ("index", "index_put", "index_put_", "_index_put_impl_"):
        return ()
    return [str(one.dtype).split(".")[1] for one in args[1] if one is not None]


def _note_copy(name, args, kwargs):
    source = args[1] if name == "copy_" else args[0]
    crosses = isinstance(source, OnGpu) != isinstance(args[0], OnGpu)
    crosses = crosses or not isinstance(source, OnGpu)
    is_async = kwargs.get("non_blocking") or (name == "copy_" and args[2:3] == (True,))
    is_pinned = any(source is one for one in FakeGpu.current.pinned)
    if crosses and not (is_async and is_pinned):
        note(f"{name} between host and GPU, not pinned or not asynchronous")


@contextlib.contextmanager
def on_fake_gpu(monkeypatch, model=None):
    """Play a GPU for a block, move a built model there, and yield the GPU."""
    with FakeGpu([], []) as gpu, NameGpu(), keras.device("cuda"):
        monkeypatch.setattr(FakeGpu, "current", gpu)
        monkeypatch.setattr(torch.Tensor, "pin_memory", _pin)
        monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: None)
        monkeypatch.setattr(torch.cuda, "manual_seed", torch.manual_seed)
        variables = []
        if model is not None:
            variables = [*model.variables, *model.metrics_variables]
            variables += model.optimizer.variables
        for variable in {id(one): one for one in variables}.values():
            value = OnGpu(variable.value.detach().clone())
            trains = variable.trainable and variable.value.requires_grad
            variable._value = torch.nn.Parameter(value, requires_grad=trains)
        yield gpu


def _pin(tensor):
    FakeGpu.current.pinned.append(tensor)
    return tensor


def read(tensor):
    """Return the values of a tensor of the GPU, which nobody need count."""
    return tensor.detach().inner if isinstance(tensor, OnGpu) else tensor.detach()
