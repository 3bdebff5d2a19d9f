"""Recorded training steps: the same training as kernel by kernel."""

import contextlib
import logging
import re
import warnings

import engine_cases as cases
import keras
import numpy as np
import pytest
import tiny
import torch
from fake_flash import fake_flash
from fake_gpu import OnGpu, on_fake_gpu, read
from fake_graph import Graph, play_graphs
from hypothesis import given, settings
from hypothesis import strategies as st
from test_engine_gpu import Streams

import kbert
from kbert.engine import backbone as backbone_module
from kbert.engine import capture
from kbert.engine.buckets import (
    Plan,
    find_bucket,
    join,
    round_to_step,
    take_apart,
)
from kbert.engine.optimizers import FusedUpdate
from kbert.engine.packing import build_packing
from kbert.engine.transfer import HostNumbers

BATCH_SIZE, NUM_STEPS = 4, 20
TEXTS, LABELS = tiny.write_texts(NUM_STEPS * BATCH_SIZE)
LENGTHS = st.lists(st.integers(1, 24), min_size=1, max_size=9)


def to_mask(lengths):
    return torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


def fill_up(inputs):
    """Return a batch filled up to its bucket: inputs and packing."""
    bucket = find_bucket(inputs["padding_mask"])
    packing = build_packing(inputs["padding_mask"], None)
    return take_apart(bucket, list(inputs), join(bucket, inputs, packing))


# === Buckets ===


@given(lengths=LENGTHS)
def test_filler_makes_up_short_rows_behind_the_texts(lengths):
    inputs = cases.to_tensors(cases.build_batch("bert", lengths))
    exact = build_packing(inputs["padding_mask"], None)
    padded, packing = fill_up(inputs)
    bounds, num_rows = packing.bounds, len(lengths)
    assert bounds.dtype == torch.int32 and int(bounds[-1]) == packing.num_tokens
    sizes = bounds.diff()
    assert sizes[:num_rows].tolist() == sorted(lengths, reverse=True)
    assert int(sizes.min()) > 0 and int(sizes.max()) <= packing.longest
    assert packing.num_tokens % 32 == 0
    for name, value in inputs.items():
        columns = value.shape[1]
        assert padded[name].dtype == torch.int32
        assert torch.equal(padded[name][:, :columns], value)
        assert not padded[name][:, columns:].any()
        num_real = sum(lengths)
        own, its = packing.gather(padded[name]), exact.gather(value)
        assert torch.equal(own[:num_real], its[:num_real]) and not own[num_real:].any()
    positions = packing.compute_positions()
    assert torch.equal(positions[:num_real], exact.compute_positions()[:num_real])


@given(st.integers(1, 10**6))
def test_rounding_adds_an_eighth_at_most_and_gives_few_numbers(num_tokens):
    rounded = round_to_step(num_tokens)
    assert num_tokens <= rounded <= num_tokens + max(31, num_tokens // 8)
    assert round_to_step(rounded) == rounded


def test_a_training_meets_few_buckets():
    generator = np.random.default_rng(0)
    found = {
        find_bucket(to_mask(generator.integers(5, 45, 32).tolist())) for _ in range(200)
    }
    assert len(found) <= 2 * capture.MOST_SHAPES
    full = find_bucket(torch.ones(64, 512))
    assert (full.length, full.num_tokens) == (512, 64 * 512 + 32)


def test_columns_that_nobody_uses_do_not_count():
    mask = torch.zeros(3, 40, dtype=torch.int32)
    mask[:, :5] = 1
    mask[1, 9] = 1  # not left-aligned
    assert find_bucket(mask) == find_bucket(mask[:, :10])
    assert find_bucket(mask).length == 64  # of filler: 48 tokens in one row


@pytest.mark.parametrize(
    "family",
    [pytest.param(f, marks=[pytest.mark.slow] * (f != "bert")) for f in cases.FAMILIES],
)
@given(lengths=LENGTHS, seed=st.integers(0, 99))
@settings(max_examples=12, deadline=None)
def test_a_filled_up_batch_has_the_outputs_and_gradients_of_the_plain_one(
    family, lengths, seed
):
    backbone = cases.build_backbone(family, hidden_dim=16, dropout=0.0)
    inputs = cases.to_tensors(cases.build_batch(family, lengths, seed=seed))
    padded, packing = fill_up(inputs)
    with fake_flash(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(backbone_module, "can_attend_fused", lambda *_: True)
        for reads in (["sequence_output"], ["first_output"], ["pooled_output"]):
            if reads[0] == "pooled_output" and family != "bert":
                continue
            results = []
            for batch, plan in ((inputs, None), (padded, Plan(packing, None))):
                outputs = backbone.encode(batch, outputs=reads, plan=plan)
                outputs = {name: outputs[name] for name in reads}
                if reads[0] == "sequence_output":
                    columns = inputs["token_ids"].shape[1]
                    assert not outputs[reads[0]][:, columns:].any()
                    outputs = {reads[0]: outputs[reads[0]][:, :columns]}
                gradients = cases.differentiate(backbone, outputs)
                values = {n: value.detach().numpy() for n, value in outputs.items()}
                results.append((values, gradients))
            cases.assert_same_outputs(results[0][0], results[1][0], 1e-6)
            cases.assert_same_gradients(results[0][1], results[1][1], 1e-5)


# === Whole trainings, on a played GPU ===


def build_model(family="bert", **changes):
    schedule = {"schedule": "linear", "warmup": 0.5, "epochs": 1}
    optimizer = kbert.adamw(
        1e-2, **schedule, examples=len(TEXTS), batch_size=BATCH_SIZE
    )
    return tiny.build_model(
        family, **{"optimizer": optimizer, "dropout": 0.0} | changes
    )


def make_batches(model, num_steps=NUM_STEPS):
    inputs = model.preprocessor(TEXTS)
    for start in range(0, num_steps * BATCH_SIZE, BATCH_SIZE):
        rows = slice(start, start + BATCH_SIZE)
        yield {name: value[rows] for name, value in inputs.items()}, LABELS[rows]


def build(model):
    """Create everything that the first step would create."""
    tensors = keras.tree.map_structure(
        keras.ops.convert_to_tensor, next(make_batches(model))
    )
    model._symbolic_build(data_batch=tensors)
    model.build_optimizer()


@contextlib.contextmanager
def on_gpu(monkeypatch, model):
    """Play a GPU with fused attention and graphs; yield it and the graphs."""
    build(model)
    monkeypatch.setattr(backbone_module, "can_attend_fused", lambda *_: True)
    monkeypatch.setattr(capture, "_renew_generator", lambda device: None)
    with fake_flash(), on_fake_gpu(monkeypatch, model) as gpu:
        graphs = play_graphs(monkeypatch)
        model.make_train_function()
        yield gpu, graphs


def train(monkeypatch, model, is_captured=True, change=None, num_steps=NUM_STEPS):
    """Train; return the losses, the weights, the graphs and the captured steps.

    Args:
        change: called with the model and the number of each step, before it.
    """
    model._jit_compile_asked = is_captured
    losses, waits = [], []  # of the steps that record nothing
    with on_gpu(monkeypatch, model) as (gpu, graphs):
        for number, batch in enumerate(make_batches(model, num_steps)):
            if change is not None:
                change(model, number)
            gpu.waits.clear()
            num_graphs = len(graphs)
            logs = model.train_step(batch)
            if len(graphs) == num_graphs and number:
                waits += gpu.waits
            losses.append(float(read(logs["loss"])))
        model.check_losses()
        weights = read_weights(model)
        captured, model._captured = model._captured, None
    assert not waits or change is not None, waits
    return losses, weights, graphs, captured


def assert_trains_alike(one, other):
    np.testing.assert_allclose(one[0], other[0], atol=1e-5)
    cases.assert_same_weights(one[1], other[1], 1e-5)


CASES = {
    "bert": {},
    "distil_bert": {"family": "distil_bert"},
    "roberta, mean": {"family": "roberta", "pooling": "mean"},
    "layerwise": {"optimizer": lambda: kbert.adamw(1e-2, layer_decay=0.8)},
    "keras's AdamW": {
        "optimizer": lambda: keras.optimizers.AdamW(
            keras.optimizers.schedules.CosineDecay(1e-2, 20), global_clipnorm=0.5
        )
    },
    "keras's Adam": {"optimizer": lambda: keras.optimizers.Adam(1e-2, epsilon=1e-3)},
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_replayed_steps_train_as_steps_kernel_by_kernel(monkeypatch, case):
    changes = dict(CASES[case])
    family, make = changes.pop("family", "bert"), changes.pop("optimizer", None)
    runs = []
    for is_captured in (True, False):
        own = changes | ({"optimizer": make()} if make else {})
        runs.append(train(monkeypatch, build_model(family, **own), is_captured))
    assert_trains_alike(*runs)
    captured = runs[0][3]
    assert captured.num_replays >= NUM_STEPS / 2
    assert sum(g.num_replays for g in runs[0][2]) == captured.num_replays
    assert runs[1][2] == [] and runs[1][3] is None


@pytest.mark.slow
def test_a_replay_reads_the_memory_that_was_recorded(monkeypatch):
    addresses: dict = {}
    run = capture.CapturedSteps._run

    def watch(self, shape, *rest):
        result = run(self, shape, *rest)
        tensors = [shape.joined, shape.numbers, shape.labels[0]]
        tensors += shape.result[:1] if shape.graph else []
        places = addresses.setdefault(shape.bucket, [])
        places.append([read(x).data_ptr() for x in tensors])
        return result

    monkeypatch.setattr(capture.CapturedSteps, "_run", watch)
    train(monkeypatch, build_model())
    assert addresses
    for first, *others in addresses.values():
        assert all(one[:3] == first for one in others)
        assert len({one[3] for one in others}) <= 1


@pytest.mark.slow
def test_dropout_differs_from_step_to_step_and_is_the_unrecorded_steps(monkeypatch):
    seeds = []
    monkeypatch.setattr(
        capture.CapturedSteps,
        "_draw_seed",
        lambda self, own=capture.CapturedSteps._draw_seed: (
            own(self),
            seeds.append(torch.initial_seed()),
        ),
    )
    replayed = train(monkeypatch, build_model(dropout=0.3), num_steps=12)
    assert len(set(seeds)) == len(seeds) > 6
    monkeypatch.setattr(capture, "NUM_WARM_UPS", 10**9)
    warm = train(monkeypatch, build_model(dropout=0.3), num_steps=12)
    assert replayed[3].num_replays and not warm[3].num_replays
    assert_trains_alike(replayed, warm)


@pytest.mark.slow
def test_a_number_of_the_host_in_a_recording_would_be_noticed(monkeypatch):
    """The tests here can fail: a rate that is recorded stays what it was."""
    own = FusedUpdate.apply_recorded

    def apply(self, gradients, numbers, skip):
        numbers = torch.stack(
            [torch.full((), one, device="cuda") for one in self.list_numbers()]
        )
        own(self, gradients, numbers, skip)

    expected = train(monkeypatch, build_model(), False)
    monkeypatch.setattr(FusedUpdate, "apply_recorded", apply)
    monkeypatch.setattr(capture, "_is_alike", lambda *_: True)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        assert_trains_alike(train(monkeypatch, build_model()), expected)


@pytest.mark.slow
def test_one_batch_over_and_over_is_never_dropped_from_alike(monkeypatch):
    model = build_model(dropout=0.5, optimizer=kbert.adamw(1e-12))
    with on_gpu(monkeypatch, model) as (_, graphs):
        batch = next(make_batches(model))
        losses = []
        for _ in range(12):
            model.reset_metrics()
            losses.append(float(read(model.train_step(batch)["loss"])))
    assert graphs[0].num_replays >= 6 and len(set(losses)) == len(losses)


@pytest.mark.slow
def test_fit_replays_and_says_so_once(monkeypatch, caplog):
    histories = []
    for is_captured in (True, False):
        model = build_model()
        model._jit_compile_asked = is_captured
        kbert.set_seed(1)
        with (
            on_gpu(monkeypatch, model) as (gpu, graphs),
            monkeypatch.context() as patch,
        ):
            Streams(gpu, patch)
            with caplog.at_level(logging.WARNING, "kbert"):
                arguments = {"batch_size": BATCH_SIZE, "epochs": 2, "verbose": 0}
                arguments["validation_data"] = TEXTS[:6], LABELS[:6]
                history = model.fit(TEXTS, LABELS, **arguments).history
            losses = history["loss"] + history["val_loss"]
            histories.append([losses, read_weights(model)])
            assert model._captured is None
            assert bool(graphs) == is_captured
    assert_trains_alike(*histories)
    lines = [r.getMessage() for r in caplog.records if "recorded" in r.getMessage()]
    assert len(lines) == 1
    assert re.search(r"in \d+\.\d s; [23]\d of 40 steps were replayed", lines[0])


def read_weights(model):
    return {v.path: read(v.value).numpy() for v in model.weights}


# === What stays as it was ===


@pytest.mark.slow
def test_shapes_are_bounded_and_rare_ones_run_as_ever(monkeypatch):
    monkeypatch.setattr(capture, "MOST_SHAPES", 1)
    with_one = train(monkeypatch, build_model())
    assert len(with_one[2]) == 1
    monkeypatch.setattr(capture, "MOST_TOKENS", 10)
    assert_trains_alike(with_one, train(monkeypatch, build_model()))


@pytest.mark.slow
def test_a_short_last_batch_runs_as_ever(monkeypatch):
    model = build_model()
    with on_gpu(monkeypatch, model) as (_, graphs):
        batch = next(make_batches(model))
        short = keras.tree.map_structure(lambda x: x[:2], batch)
        for _ in range(8):
            model.train_step(batch)
            model.train_step(short)
        assert len(graphs) == 1 and graphs[0].num_replays == 8 - 4


OBSTACLES = {
    "gradients are accumulated": {"optimizer": lambda: kbert.adamw(accumulate=2)},
    "SGD is not Adam": {"optimizer": lambda: keras.optimizers.SGD(1e-3)},
    "own_loss is not a loss of Keras": {"loss": lambda: own_loss},
    "draws from a seed of its own": {"head": lambda: seeded_head},
    "may do something else every time": {"head": lambda: unknown_head},
}


def own_loss(y_true, y_pred):
    return keras.losses.sparse_categorical_crossentropy(y_true, y_pred)


def seeded_head(features):
    features = keras.layers.Dropout(0.1, seed=3)(features)
    return keras.layers.Dense(2, "softmax")(features)


class Own(keras.layers.Layer):
    """Stands for a layer that only its user knows."""

    def call(self, x):
        """Return `x`."""
        return x * 1.0


def unknown_head(features):
    return keras.layers.Dense(2, "softmax")(Own()(features))


@pytest.mark.parametrize(
    "reason",
    [pytest.param(r, marks=[pytest.mark.slow] * ("loss" not in r)) for r in OBSTACLES],
)
def test_what_is_not_known_runs_as_ever_and_is_said_once(monkeypatch, caplog, reason):
    changes = {name: make() for name, make in OBSTACLES[reason].items()}
    # A seed of its own would ask for a generator of a GPU, which is not there.
    monkeypatch.setattr(keras.layers.Dropout, "call", lambda self, x, training=None: x)
    model = build_model(**changes)
    with (
        caplog.at_level(logging.WARNING, "kbert"),
        on_gpu(monkeypatch, model) as played,
    ):
        for _ in range(2):
            for batch in list(make_batches(model))[:4]:
                model.train_step(batch)
            model.make_train_function()
        assert played[1] == []
    lines = [r.getMessage() for r in caplog.records if "not recorded" in r.getMessage()]
    assert len(lines) == 1 and reason in lines[0]


@pytest.mark.parametrize("changes", [{"jit_compile": False}, {"run_eagerly": True}])
def test_compile_switches_recording_off(monkeypatch, changes):
    model = build_model()
    model.compile(kbert.adamw(1e-3), "sparse_categorical_crossentropy", **changes)
    with on_gpu(monkeypatch, model):
        assert model._captured is None


@pytest.mark.slow
def test_a_saved_model_keeps_what_it_was_compiled_with():
    for asked in ("auto", False):
        model = build_model(compile=False)
        model.compile(kbert.adamw(), "mse", jit_compile=asked)
        assert model.get_compile_config()["jit_compile"] == asked
    assert build_model(compile=False).get_compile_config() == {}


@pytest.mark.slow
def test_a_failed_recording_costs_a_line_and_training_goes_on(monkeypatch, caplog):
    compute = capture.CapturedSteps._compute

    def wait(self, shape):
        loss, y_pred = compute(self, shape)
        if shape.num_runs:
            float(loss)
        return loss, y_pred

    expected = train(monkeypatch, build_model(), False, num_steps=8)
    monkeypatch.setattr(capture.CapturedSteps, "_compute", wait)
    with caplog.at_level(logging.WARNING, "kbert"):
        found = train(monkeypatch, build_model(), change=lambda *_: None, num_steps=8)
    assert_trains_alike(found, expected)
    lines = [r.getMessage() for r in caplog.records if "not recorded" in r.getMessage()]
    assert len(lines) == 1 and "not permitted while a graph is recorded" in lines[0]


@pytest.mark.slow
def test_a_recording_that_is_wrong_in_silence_is_found_out(monkeypatch, caplog):
    expected = train(monkeypatch, build_model(), False, num_steps=8)
    model, replay = build_model(), Graph.replay

    def replay_and_spoil(self):
        replay(self)
        read(model.layers[-1].kernel.value).add_(0.01)

    monkeypatch.setattr(Graph, "replay", replay_and_spoil)
    with caplog.at_level(logging.WARNING, "kbert"):
        found = train(monkeypatch, model, num_steps=8)
    assert_trains_alike(found, expected)
    lines = [r.getMessage() for r in caplog.records if "not recorded" in r.getMessage()]
    assert len(lines) == 1 and "a replay came to other weights" in lines[0]


def test_a_copy_from_the_host_is_refused_while_recording(monkeypatch):
    numbers = HostNumbers()
    with on_fake_gpu(monkeypatch) as gpu, numbers, numbers.recording():
        shape = torch.as_tensor((3, 2), device="cuda", dtype=torch.int32)
        assert isinstance(shape, OnGpu) and read(shape).tolist() == [3, 2]
        assert gpu.waits == [] and gpu.pinned == []
        with pytest.raises(RuntimeError, match="copies values from the host"):
            torch.as_tensor(np.ones(9), device="cuda")


@pytest.mark.slow
def test_a_batch_in_parts_is_not_recorded(monkeypatch):
    def split(model, number):
        model._recovery.num_parts = 1 + (number >= 10)

    *_, graphs, captured = train(monkeypatch, build_model(), change=split)
    assert 0 < captured.num_replays < 10 and captured.describe() is None


# === Changes in the middle ===


def set_rate(model, number):
    if number == 12:
        model.optimizer.learning_rate = 1e-4


def set_decay(model, number):
    if number == 12:
        model.optimizer.weight_decay = 0.5


def replace_weight(model, number):
    if number == 12:
        variable = model.layers[-1].bias
        variable._value = torch.nn.Parameter(OnGpu(read(variable.value) + 0.5))


@pytest.mark.slow
@pytest.mark.parametrize("change", [set_rate, set_decay, replace_weight])
def test_whatever_is_changed_in_the_middle_counts(monkeypatch, change):
    runs = [
        train(
            monkeypatch,
            build_model(optimizer=kbert.adamw(1e-2)),
            is_captured,
            change,
        )
        for is_captured in (True, False)
    ]
    assert_trains_alike(*runs)
    assert runs[0][3].num_replays > 4


@pytest.mark.slow
def test_a_loss_that_is_no_number_changes_nothing_in_a_replay_either(monkeypatch):
    model = build_model()
    with on_gpu(monkeypatch, model) as (_, graphs):
        batches = [
            (*one, np.ones(BATCH_SIZE, "float32")) for one in make_batches(model)
        ]
        for batch in batches[:12]:
            model.train_step(batch)
        before = [read(weight.value).clone() for weight in model.weights]
        count = sum(graph.num_replays for graph in graphs)
        x, y, weights = batches[11]
        model.train_step((x, y, weights * np.nan))
        model.train_step(batches[11])
        assert sum(graph.num_replays for graph in graphs) == count + 2
        after = [read(weight.value) for weight in model.weights]
        assert all(map(torch.equal, before, after))
        with pytest.raises(RuntimeError, match="no number at step 12"):
            model.check_losses()


@pytest.mark.slow
def test_wrong_ids_are_named_before_a_replay(monkeypatch):
    model = build_model()
    with on_gpu(monkeypatch, model):
        x, y = next(make_batches(model))
        for _ in range(6):
            model.train_step((x, y))
        x = {name: value.copy() for name, value in x.items()}
        x["token_ids"][2, 1] = 99
        with pytest.raises(ValueError, match="row 2 of the batch has 99"):
            model.train_step((x, y))


# === A real GPU ===

needs_gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA GPU"),
]


def train_for_real(is_captured, **changes):
    """Return the losses and weights of twenty steps, and how many were replayed."""
    model = build_model(precision="bfloat16", **changes)
    model._jit_compile_asked = is_captured
    build(model)
    model.make_train_function()
    losses = []
    for batch in make_batches(model):
        model.reset_metrics()
        losses.append(float(model.train_step(batch)["loss"]))
    captured = model._captured
    model.check_losses()
    weights = {v.path: v.value.detach().cpu().numpy() for v in model.weights}
    return losses, weights, captured


class TestRealGpu:
    """What only a GPU can show."""

    pytestmark = needs_gpu

    def test_replays_equal_the_steps_they_were_recorded_from(self, monkeypatch):
        replayed = train_for_real(True, dropout=0.1)
        monkeypatch.setattr(capture, "NUM_WARM_UPS", 10**9)
        warm = train_for_real(True, dropout=0.1)
        assert replayed[2].num_replays >= NUM_STEPS / 2 and not warm[2].num_replays
        np.testing.assert_allclose(replayed[0], warm[0], atol=1e-2)
        for path, value in replayed[1].items():
            assert np.abs(value - warm[1][path]).mean() < 1e-3, path

    def test_replays_train_as_steps_kernel_by_kernel(self):
        replayed, eager = train_for_real(True), train_for_real(False)
        assert replayed[2].num_replays >= NUM_STEPS / 2
        np.testing.assert_allclose(replayed[0], eager[0], atol=0.05)

    @pytest.mark.parametrize(
        "optimizer", [kbert.adamw(1e-2, layer_decay=0.9), keras.optimizers.AdamW(1e-2)]
    )
    def test_no_replay_waits(self, optimizer):
        model = build_model(precision="bfloat16", dropout=0.1, optimizer=optimizer)
        build(model)
        model.make_train_function()
        batch = next(make_batches(model))
        for _ in range(6):
            model.train_step(batch)
        before = model._captured.num_replays
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch calls this mode a prototype
                torch.cuda.set_sync_debug_mode("error")
            for _ in range(3):
                model.train_step(batch)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert model._captured.num_replays == before + 3
        model.check_losses()

    def test_training_goes_on_after_a_recording_that_failed(self, monkeypatch):
        compute = capture.CapturedSteps._compute

        def wait(self, shape):
            loss, y_pred = compute(self, shape)
            if shape.num_runs:
                float(loss)
            return loss, y_pred

        monkeypatch.setattr(capture.CapturedSteps, "_compute", wait)
        losses, _, captured = train_for_real(True, dropout=0.1)
        assert captured.num_replays == 0 and np.isfinite(losses).all()
