"""The whole training of a head on a frozen encoder: kbert's, and stock KerasHub's."""

import time

import numpy as np

from benchmarks import keras_sides
from benchmarks.tasks import Task

LEARNING_RATE = 1e-3


def time_fit(name: str, task: Task, epochs: int, whole: int) -> dict:
    """Fit a head for some epochs.

    Args:
        name: `kbert` or `keras`.
        task: what to train.
        epochs: that are run.
        whole: epochs whose time is wanted; each costs the same.

    Returns:
        `seconds` of all of them, and the `loss` of the last that was run.
    """
    import keras

    import kbert

    kbert.set_seed(0)
    if name == "kbert":
        model = keras_sides.build_kbert(task, pooling="mean", head="mlp")
        kbert.freeze(model)
        inputs = task.workload.take(range(len(task.workload)))
    else:
        model = keras_sides.build_stock_keras(task, pooling="mean", head="mlp")
        backbone = next(one for one in model.layers if hasattr(one, "pooled_dense"))
        backbone.trainable = False
        inputs = task.encoded.pad(task.max_length)
    # The same optimizer on both sides.
    optimizer = keras.optimizers.AdamW(LEARNING_RATE, global_clipnorm=1.0)
    model.compile(optimizer, keras_sides.LOSS)
    labels, size = np.asarray(task.workload.labels), task.batch_size
    started = time.perf_counter()
    history = model.fit(inputs, labels, batch_size=size, epochs=epochs, verbose=0)
    seconds = (time.perf_counter() - started) * whole / epochs
    return {"seconds": seconds, "loss": float(history.history["loss"][-1])}
