"""Sides in processes of their own, so that none runs with what another has set up.

kbert tells the allocator of its process to keep what a step frees, which would speed
its opponents up as well; a compiled model or a cache of kernels could slow it down.
"""

import json
import multiprocessing
import time
from dataclasses import asdict
from typing import Any, Self

import numpy as np

from benchmarks import frozen_sides, machine
from benchmarks.inference_sides import build_predictor
from benchmarks.opponents import build_side
from benchmarks.tasks import TrainingRun, build_task

_PRELOADED = "benchmarks.preloaded"


class Child:
    """A process that builds a side once and does what it is asked.

    A context: the process ends with it.

    Args:
        kind: key of `_KINDS`.
        name: of the side.
        options: arguments of `tasks.build_task`.
        **more: further arguments of the kind.

    Attributes:
        name: of the side.
        settings: what the side is run with.
    """

    def __init__(self, kind: str, name: str, options: dict, **more: Any):
        self.name = name
        # A GPU cannot be used behind a fork; elsewhere one spares all the imports.
        method = "spawn" if options["device"] == "cuda" else "forkserver"
        context: Any = multiprocessing.get_context(method)
        if method == "forkserver":
            context.set_forkserver_preload([_PRELOADED])
        self._connection, theirs = context.Pipe()
        order = json.dumps({"name": name, "options": options, **more})
        # Not a daemon, which might start no processes that load data.
        self._process = context.Process(target=_serve, args=(theirs, kind, order))
        self._process.start()
        theirs.close()
        self.settings = self._receive()

    def ask(self, method: str, **arguments: Any) -> Any:
        """Call a method of the side and wait for what it returns.

        Raises:
            torch.OutOfMemoryError: the device's memory did not suffice.
            RuntimeError: anything else failed there.
        """
        self._connection.send_bytes(json.dumps([method, arguments]).encode())
        return self._receive()

    def __enter__(self) -> Self:
        """Return the side."""
        return self

    def __exit__(self, *error: object) -> None:
        """End the process, which nobody else would."""
        self._connection.close()  # which it waits at
        self._process.join()

    def _receive(self) -> Any:
        try:
            reply = json.loads(self._connection.recv_bytes())
        except EOFError:
            self._process.join()
            code = self._process.exitcode
            raise RuntimeError(f"{self.name} ended with exit code {code}.") from None
        if "error" not in reply:
            return reply["result"]
        if reply["error"] == "OutOfMemoryError":
            import torch

            raise torch.OutOfMemoryError(reply["message"])
        raise RuntimeError(f"{self.name}: {reply['error']}: {reply['message']}")


class TrainingChild(Child):
    """A `tasks.Side` in a process of its own."""

    def __init__(self, name: str, options: dict, settings: dict | None = None):
        super().__init__("training", name, options, settings=settings)

    def train(self, rows: np.ndarray, num_warmup: int) -> TrainingRun:
        """Train there; see `tasks.Side`."""
        return TrainingRun(**self.ask("train", rows=rows.tolist(), warmup=num_warmup))

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Predict there; see `tasks.Side`."""
        return np.asarray(self.ask("predict", rows=rows.tolist()), "float32")


class PredictingChild(Child):
    """An `inference_sides.Predictor` in a process of its own.

    Attributes:
        seconds: that the last prediction took there.
    """

    seconds: float

    def __init__(self, name: str, options: dict):
        super().__init__("inference", name, options)

    def predict(self) -> np.ndarray:
        """Predict there; see `inference_sides.Predictor`."""
        found = self.ask("predict")
        self.seconds = found["seconds"]
        return np.asarray(found["outputs"], "float32")


# === In the process ===


def _serve(connection, kind: str, order: str) -> None:
    """Build a side, and answer until nobody asks."""
    try:
        given = json.loads(order)
        machine.prepare_process(given["options"]["device"])
        side = _KINDS[kind](**given)
        connection.send_bytes(_dump(side.settings))
        while True:
            method, arguments = json.loads(connection.recv_bytes())
            connection.send_bytes(_dump(getattr(side, method)(**arguments)))
    except EOFError:
        return
    except Exception as error:
        message = {"error": type(error).__name__, "message": str(error)}
        connection.send_bytes(json.dumps(message).encode())


def _dump(result: Any) -> bytes:
    return json.dumps({"result": result}).encode()


class _Training:
    def __init__(self, name: str, options: dict, settings: dict | None):
        self._side = build_side(name, build_task(**options), settings)
        self.settings = self._side.settings

    def train(self, rows: list[int], warmup: int) -> dict:
        return asdict(self._side.train(np.array(rows), warmup))

    def predict(self, rows: list[int]) -> list:
        return self._side.predict(np.array(rows)).tolist()


class _Predicting:
    def __init__(self, name: str, options: dict):
        self._side = build_predictor(name, build_task(**options))
        self.settings = self._side.settings

    def predict(self) -> dict:
        started = time.perf_counter()
        outputs = self._side.predict()
        seconds = time.perf_counter() - started
        return {"seconds": seconds, "outputs": outputs.tolist()}


class _Frozen:
    settings: dict = {}

    def __init__(self, name: str, options: dict):
        self._task, self._name = build_task(**options), name

    def fit(self, epochs: int, whole: int) -> dict:
        return frozen_sides.time_fit(self._name, self._task, epochs, whole)


_KINDS = {"training": _Training, "inference": _Predicting, "frozen": _Frozen}
