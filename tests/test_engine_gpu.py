"""Training as a GPU would run it: no step waits, and it computes the same."""

import contextlib
import warnings

import keras
import numpy as np
import pytest
import tiny
import torch
from fake_flash import fake_flash
from fake_gpu import OnGpu, on_fake_gpu, read

import kbert
from kbert.engine import backbone as backbone_module
from kbert.engine.logs import LazyLogs, count_steps
from kbert.engine.transfer import HostNumbers, Mirror, send

BATCH_SIZE, NUM_BATCHES = 4, 5
TEXTS, LABELS = tiny.write_texts(NUM_BATCHES * BATCH_SIZE)


def build_model(**changes):
    """Return a classifier with kbert's AdamW, a schedule, clipping and accuracy."""
    schedule = {"schedule": "linear", "warmup": 0.5, "epochs": 2}
    optimizer = kbert.adamw(
        1e-2, **schedule, examples=len(TEXTS), batch_size=BATCH_SIZE
    )
    return tiny.build_model(**{"optimizer": optimizer, "dropout": 0.0} | changes)


def make_batches(model):
    inputs = model.preprocessor(TEXTS)
    for start in range(0, len(TEXTS), BATCH_SIZE):
        rows = slice(start, start + BATCH_SIZE)
        yield {name: value[rows] for name, value in inputs.items()}, LABELS[rows]


def build(model):
    """Create everything that the first step would create."""
    tensors = keras.tree.map_structure(
        keras.ops.convert_to_tensor, next(make_batches(model))
    )
    model._symbolic_build(data_batch=tensors)
    model.build_optimizer()
    return model


@contextlib.contextmanager
def on_gpu(monkeypatch, model):
    """Play a GPU that has run a first step, in which counters are read."""
    with on_fake_gpu(monkeypatch, build(model)) as gpu:
        model.make_train_function()
        batches = make_batches(model)
        logs = [model.train_step(next(batches))]
        gpu.waits.clear()
        yield gpu, batches, logs


def assert_same_weights(one, other, tolerance=1e-5):
    """Compare but for the key's bias, which Adam moves by rounding errors alone."""
    for own, its in zip(one.weights, other.weights, strict=True):
        if not own.path.endswith("key/bias"):
            values = read(own.value).numpy(), read(its.value).numpy()
            np.testing.assert_allclose(*values, atol=tolerance, err_msg=own.path)


# === One step ===


@pytest.mark.parametrize(
    "pooling", ["pooler", pytest.param("mean", marks=pytest.mark.slow)]
)
def test_no_step_waits_and_all_compute_what_they_do_on_a_cpu(monkeypatch, pooling):
    here, there = (build_model(pooling=pooling) for _ in range(2))
    build(here).make_train_function()
    expected = [here.train_step(batch) for batch in make_batches(here)]
    with on_gpu(monkeypatch, there) as (gpu, batches, logs):
        logs += [there.train_step(batch) for batch in batches]
        assert gpu.waits == []
        for own, other in zip(logs, expected, strict=True):
            assert own.keys() == other.keys() == {"loss", "accuracy"}
            for name, value in own.items():
                assert isinstance(value, OnGpu)
                assert float(read(value)) == pytest.approx(float(other[name]), abs=1e-5)
        assert_same_weights(there, here)


def test_a_step_with_fused_attention_does_not_wait_either(monkeypatch):
    monkeypatch.setattr(backbone_module, "can_attend_fused", lambda *_: True)
    model = build_model(dropout=0.1)
    with fake_flash() as calls, on_gpu(monkeypatch, model) as (gpu, batches, _):
        model.train_step(next(batches))
        assert len(calls) == 2 * 2 * 2 and gpu.waits == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "optimizer",
    [
        kbert.adamw(1e-2, accumulate=2, layer_decay=0.9, head_learning_rate=0.1),
        keras.optimizers.AdamW(1e-2, global_clipnorm=1.0),
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-2, 10)),
        keras.optimizers.SGD(1e-2),
        keras.optimizers.SGD(1e-2, momentum=0.9, nesterov=True, weight_decay=0.01),
    ],
    ids=["accumulating", "keras_adamw", "keras_schedule", "sgd", "momentum"],
)
def test_no_other_known_optimizer_waits(monkeypatch, optimizer):
    model = build_model(optimizer=optimizer, dropout=0.1)
    with on_gpu(monkeypatch, model) as (gpu, batches, _):
        model.train_step(next(batches))  # the first update reads the learning rate
        gpu.waits.clear()
        for batch in batches:
            model.train_step(batch)
        assert gpu.waits == []


@pytest.mark.slow
def test_a_batch_in_parts_does_not_wait(monkeypatch):
    model = build_model()
    model._recovery.num_parts = 2
    with on_gpu(monkeypatch, model) as (gpu, batches, _):
        model.train_step(next(batches))
        assert gpu.waits == []


WAITING = {
    "item": lambda x: x.sum().item(),
    "float": lambda x: float(x.sum()),
    "if": lambda x: bool(x.any()),
    "tolist": lambda x: x.tolist(),
    "cpu": lambda x: x.cpu(),
    "to": lambda x: x.to("cpu"),
    "numpy": lambda x: keras.ops.convert_to_numpy(x),
    "nonzero": lambda x: x.nonzero(),
    "mask": lambda x: x[x > 0],
    "equal": lambda x: torch.equal(x, x),
    "unique": lambda x: x.unique(),
    "number": lambda x: torch.as_tensor(3, device="cuda"),
    "copy": lambda x: torch.zeros(3).to("cuda"),
    "fill": lambda x: torch.zeros_like(x).masked_fill_(x > 0, x.sum()),
    "unpinned": lambda x: torch.zeros(3).to("cuda", non_blocking=True),
}


def test_whatever_waits_in_a_step_would_be_noticed(monkeypatch):
    """The tests here can fail: each way to wait, put into the step, is noted."""
    model = build_model()
    compute_loss = type(model).compute_loss
    with on_gpu(monkeypatch, model) as (gpu, batches, _):
        batch = next(batches)
        for name, wait in WAITING.items():

            def wait_too(
                self, x, y, y_pred, sample_weight=None, training=True, wait=wait
            ):
                with self._host_numbers.paused():
                    wait(y_pred.detach())
                return compute_loss(self, x, y, y_pred, sample_weight, training)

            monkeypatch.setattr(type(model), "compute_loss", wait_too)
            model.train_step(batch)
            assert gpu.waits, name
            gpu.waits.clear()


def test_wrong_ids_are_named_before_a_gpu_sees_them(monkeypatch):
    model = build_model()
    with on_gpu(monkeypatch, model) as (gpu, batches, _):
        x, y = next(batches)
        x["token_ids"][2, 1] = 99
        with pytest.raises(ValueError, match="row 2 of the batch has 99"):
            model.train_step((x, y))


# === A loss that is no number ===


@pytest.mark.parametrize(
    "optimizer",
    [
        kbert.adamw(1e-2, accumulate=2),
        keras.optimizers.SGD(1e-2, momentum=0.9, weight_decay=0.01),
    ],
    ids=["accumulating", "momentum"],
)
def test_nothing_that_is_kept_holds_what_is_no_number(monkeypatch, optimizer):
    model = build_model(optimizer=optimizer)
    with on_gpu(monkeypatch, model) as (gpu, batches, _):
        model.train_step(next(batches))
        weights = [read(one.value).clone() for one in model.weights]
        x, y = next(batches)
        model.train_step((x, y, np.full(BATCH_SIZE, np.nan, "float32")))
        after = [read(one.value) for one in model.weights]
        assert all(map(torch.equal, weights, after))
        for variable in model.optimizer.variables:
            assert torch.isfinite(read(variable.value)).all(), variable.path


@pytest.mark.parametrize(
    "is_tolerant", [False, pytest.param(True, marks=pytest.mark.slow)]
)
def test_a_loss_that_is_no_number_changes_nothing_and_is_told_later(
    monkeypatch, is_tolerant
):
    model = build_model()
    model._tolerates_nan = is_tolerant
    with on_gpu(monkeypatch, model) as (gpu, batches, _):
        model.check_losses()
        before = [read(weight.value).clone() for weight in model.weights]
        x, y = next(batches)
        model.train_step((x, y, np.full(BATCH_SIZE, np.nan, "float32")))
        after = [read(weight.value) for weight in model.weights]
        assert all(map(torch.equal, before, after))
        model.train_step(next(batches))
        after = [read(weight.value) for weight in model.weights]
        assert all(map(torch.equal, before, after)) != is_tolerant
        if is_tolerant:
            model.check_losses()
            return
        with pytest.raises(RuntimeError, match="no number at step 1, .* step before"):
            model.check_losses()
        with pytest.raises(RuntimeError, match="no number at step 3, .* step before"):
            model.train_on_batch(x, y, np.full(BATCH_SIZE, np.nan, "float32"))


def test_a_row_that_is_no_number_is_named(monkeypatch):
    model = build_model()
    with on_gpu(monkeypatch, model) as (gpu, batches, _):
        x, y = next(batches)
        model.train_step((x, y))
        gpu.waits.clear()
        watch = model._watch
        outputs = torch.zeros(BATCH_SIZE, 2)
        outputs[[2, 3], 1] = torch.nan
        loss, outputs = send((torch.tensor(torch.nan), outputs), model._device)
        watch.check(loss, outputs, 7)
        watch.check(loss, outputs[3:], 8)
        assert gpu.waits == []
        with pytest.raises(RuntimeError, match="step 7, from row 2 of its batch;"):
            model.check_losses()


# === What the host keeps ===


@pytest.mark.parametrize("write", ["assign", "count", "elsewhere"])
def test_a_mirror_follows_every_write(write):
    variable = keras.Variable([3, 4], dtype="int32", trainable=False)
    mirror = Mirror(variable)
    assert mirror.read() == [3, 4]
    if write == "assign":
        variable.assign([7, 8])
        assert mirror.read() == [7, 8]
    elif write == "count":
        assert mirror.count() == [3, 4]
        assert mirror.read() == variable.value.tolist() == [3, 5]
    else:
        with torch.no_grad():
            variable.value.add_(1)
        assert mirror.count() == [4, 5]
        assert variable.value.tolist() == [4, 6]


def test_numbers_of_the_host_become_the_tensors_that_torch_makes(monkeypatch):
    arrays = np.arange(3, dtype="int32"), np.ones((2, 2))
    with on_fake_gpu(monkeypatch) as gpu, HostNumbers():
        for value in (3, 2.5, True, (2, 3), [1.5], *arrays):
            for dtype in (None, torch.float32):
                expected = torch.as_tensor(value, dtype=dtype)
                found = torch.as_tensor(value, dtype=dtype, device="cuda")
                assert isinstance(found, OnGpu) and gpu.waits == []
                torch.testing.assert_close(read(found), expected, rtol=0, atol=0)


# === Logs ===


def test_logs_are_read_when_somebody_looks_and_only_then():
    class Value:
        num_reads = 0

        def __float__(self):
            Value.num_reads += 1
            return 0.5

    logs = LazyLogs({"loss": Value(), "accuracy": Value()})
    assert logs and Value.num_reads == 0
    assert list(logs) == ["accuracy", "loss"] and logs["loss"] == 0.5
    assert dict(logs) == logs.copy() == {"accuracy": 0.5, "loss": 0.5}
    logs["rate"] = 1.0
    assert "rate" in logs and Value.num_reads == 2
    assert not LazyLogs({})


@pytest.mark.slow
def test_steps_are_counted_as_keras_counts_them():
    class Seen(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            counts.append(self.params["steps"])

    arrays = tiny.build_model().preprocessor(TEXTS)
    tensors = torch.zeros(20, 4), torch.zeros(20)
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(*tensors), batch_size=8
    )
    cases = [
        (arrays, 8, None, 0.0),
        (arrays, None, None, 0.0),
        (arrays, 3, None, 0.3),
        (arrays, 4, 2, 0.0),
        (loader, None, None, 0.0),
    ]
    for x, batch_size, steps, split in cases:
        counts: list = []
        model = keras.Sequential([keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        if x is arrays:
            model = tiny.build_model()
        model.fit(
            x,
            None if x is loader else LABELS,
            batch_size=batch_size,
            steps_per_epoch=steps,
            validation_split=split,
            shuffle=False,
            verbose=0,
            callbacks=[Seen()],
        )
        assert [count_steps(x, batch_size, steps, split)] == counts


# === A whole fit ===


class Streams:
    """Stands in for CUDA's streams: what a copy ahead does with them, in order."""

    def __init__(self, gpu, monkeypatch):
        self.calls = []
        from kbert.engine import ahead

        send = ahead.send

        def send_in_thread(batch, device):
            self.calls.append("send")
            with gpu.entered_in_thread():
                return send(batch, device)

        monkeypatch.setattr(ahead, "send", send_in_thread)
        monkeypatch.setattr(torch.cuda, "Stream", lambda device: self)
        monkeypatch.setattr(
            torch.cuda, "stream", lambda stream: contextlib.nullcontext()
        )
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device: self)
        monkeypatch.setattr(
            torch.Tensor, "record_stream", lambda self, stream: None, raising=False
        )

    def record_event(self):
        return "copied"

    def wait_event(self, event):
        assert event == "copied"
        self.calls.append("join")


def fit(model, **arguments):
    seen = []
    watch = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: seen.append(batch)
    )
    history = model.fit(
        TEXTS,
        LABELS,
        batch_size=BATCH_SIZE,
        epochs=2,
        verbose=0,
        callbacks=[watch],
        validation_data=(TEXTS[:6], LABELS[:6]),
        **arguments,
    )
    assert seen == [*range(NUM_BATCHES)] * 2
    return history.history


def test_fit_gives_what_it_gives_on_a_cpu_and_waits_for_no_batch(monkeypatch):
    here, there = (build_model() for _ in range(2))
    kbert.set_seed(1)
    expected = fit(here)
    with on_fake_gpu(monkeypatch, build(there)) as gpu:
        streams = Streams(gpu, monkeypatch)
        monkeypatch.setattr("kbert.engine.logs.INTERVAL_SECONDS", 3600.0)
        begin, waits = keras.callbacks.CallbackList.on_train_batch_begin, []

        def count(self, batch, logs=None):
            waits.append(len(gpu.waits))
            begin(self, batch, logs)

        monkeypatch.setattr(keras.callbacks.CallbackList, "on_train_batch_begin", count)
        kbert.set_seed(1)
        found = fit(there)
        # All that happens from one batch to the next, but around an epoch's first,
        # in which counters and the seed that somebody set are read.
        assert len(waits) == 2 * NUM_BATCHES
        for first in (0, NUM_BATCHES):
            within = waits[first + 1 : first + NUM_BATCHES]
            assert within == within[:1] * len(within)
        assert streams.calls.count("send") >= streams.calls.count("join") >= 12
        assert found.keys() == expected.keys()
        for name, values in found.items():
            np.testing.assert_allclose(values, expected[name], atol=1e-4, err_msg=name)
        assert_same_weights(there, here, 1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA GPU")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_no_step_waits_on_a_real_gpu(precision):
    model = build(build_model(dropout=0.1, precision=precision))
    model.make_train_function()
    batches = make_batches(model)
    model.train_step(next(batches))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch calls this mode a prototype
            torch.cuda.set_sync_debug_mode("error")
        for batch in batches:
            model.train_step(batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    model.check_losses()
