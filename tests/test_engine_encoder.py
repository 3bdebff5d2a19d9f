"""The packed encoder computes what KerasHub's padded one does."""

import time

import keras
import numpy as np
import pytest
import torch
from engine_cases import (
    FAMILIES,
    VOCABULARY_SIZE,
    assert_same,
    assert_same_gradients,
    assert_same_outputs,
    blank_padding,
    build_backbone,
    build_batch,
    compute,
    differentiate,
    draw_probe,
    name_outputs,
    run_keras_layers,
    run_packed,
    to_tensors,
)
from hypothesis import given, settings
from hypothesis import strategies as st

import kbert
from kbert.engine import precision
from kbert.engine.attention import attend
from kbert.engine.dropout import Dropout
from kbert.engine.packing import build_packing
from kbert.engine.precision import CpuProbe, resolve_precision

CPU = torch.device("cpu")
RAGGED = [7, 2, 24, 1, 13, 24, 9, 3, 17]
# More rows than attend together, of lengths that need several groups.
LENGTHS = st.lists(st.integers(1, 24), min_size=1, max_size=40)
SEEDS = st.integers(0, 2**31 - 1)
quickly = settings(max_examples=20, deadline=None, database=None)


@pytest.fixture(scope="module")
def backbones():
    """One encoder a family, in float32, dropout set but not used."""
    return {family: build_backbone(family) for family in FAMILIES}


@pytest.fixture(scope="module")
def bert(backbones):
    return backbones["bert"]


def reads_of(backbone):
    """Every output that an encoder can be asked for."""
    pooled = ("pooled_output",) if backbone.config.has_pooler else ()
    return ("sequence_output", *pooled)


def encode(backbone, inputs, *names, **options):
    """Ask the engine for some outputs; return only these."""
    outputs = backbone.encode(to_tensors(inputs), outputs=names, **options)
    return {name: outputs[name] for name in names}


def encode_freely(backbone, inputs):
    """Run without gradients, which takes another kernel."""
    with torch.no_grad():
        outputs = run_packed(backbone, inputs)
    outputs = blank_padding(outputs, inputs["padding_mask"])
    return {name: output.numpy() for name, output in outputs.items()}


def encode_in_training(backbone, inputs, **options):
    return name_outputs(backbone(inputs, training=True, **options))["sequence_output"]


# === Keras's layers, which tests/test_engine_real.py compares with KerasHub's ===


@pytest.mark.parametrize("family", FAMILIES)
@quickly
@given(lengths=LENGTHS, padding=st.integers(0, 5), seed=SEEDS)
def test_ragged_batches_equal_the_keras_layers(
    backbones, family, lengths, padding, seed
):
    backbone = backbones[family]
    num_columns = max(lengths) + padding
    inputs = build_batch(family, lengths, num_columns=num_columns, seed=seed)
    theirs = compute(backbone, inputs, run_keras_layers)
    assert_same(compute(backbone, inputs), theirs)
    assert_same_outputs(encode_freely(backbone, inputs), theirs[0])


@pytest.mark.parametrize("family", FAMILIES)
@quickly
@given(data=st.data(), num_rows=st.integers(1, 20), num_columns=st.integers(1, 16))
def test_masks_that_are_not_left_aligned_equal_the_keras_layers(
    backbones, family, data, num_rows, num_columns
):
    row = st.lists(st.booleans(), min_size=num_columns, max_size=num_columns)
    rows = st.lists(row.filter(any), min_size=num_rows, max_size=num_rows)
    backbone = backbones[family]
    inputs = build_batch(family, [num_columns] * num_rows)
    inputs["padding_mask"] = np.array(data.draw(rows), "int32")
    reads = ("sequence_output",)
    ours = compute(backbone, inputs, reads=reads)
    theirs = compute(backbone, inputs, run_keras_layers, reads=reads)
    assert_same(ours, theirs)


def test_a_gap_behind_the_first_token_leaves_the_pooled_output_right(bert):
    inputs = build_batch("bert", [9] * 5)
    inputs["padding_mask"][:, 2:5] = 0
    ours, theirs = compute(bert, inputs), compute(bert, inputs, run_keras_layers)
    assert_same(ours, theirs)


CASES = {
    "one text": [9],
    "one token": [1],
    "nothing but the two special tokens": [2, 2, 2],
    "equal lengths": [8] * 5,
    "equal lengths in two groups": [13] * 21,
    "one of 512 among short ones": [3, 5, 512, 4, 2],
    "growing lengths": list(range(1, 38)),
}


@pytest.fixture(scope="module")
def long_backbones():
    return {
        family: build_backbone(family, max_sequence_length=512) for family in FAMILIES
    }


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("lengths", CASES.values(), ids=CASES.keys())
def test_remarkable_lengths_equal_the_keras_layers(long_backbones, family, lengths):
    backbone, inputs = long_backbones[family], build_batch(family, lengths)
    ours, theirs = (
        compute(backbone, inputs),
        compute(backbone, inputs, run_keras_layers),
    )
    assert_same(ours, theirs)
    assert_same_outputs(encode_freely(backbone, inputs), theirs[0])


SHAPES = {
    "2 layers of 128": {"hidden_dim": 128, "intermediate_dim": 512},
    "1 layer": {"num_layers": 1},
    "5 layers": {"num_layers": 5},
    "1 head": {"num_heads": 1},
    "3 heads of 12": {"hidden_dim": 36, "num_heads": 3, "intermediate_dim": 50},
    "5 heads of 6": {"hidden_dim": 30, "num_heads": 5, "intermediate_dim": 31},
    "heads of 1": {"hidden_dim": 8, "num_heads": 8},
    "heads of 11": {"hidden_dim": 33, "num_heads": 3},
    "3 segments": {"num_segments": 3},
    "relu": {"activation": "relu"},
    "gelu": {"activation": "gelu"},
    "gelu_approximate": {"activation": "gelu_approximate"},
    "BERT-large's, 2 layers of it": {
        "hidden_dim": 1024,
        "num_heads": 16,
        "intermediate_dim": 4096,
    },
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_every_shape_equals_the_keras_layers(shape):
    backbone, inputs = build_backbone(**shape), build_batch("bert", [5, 12, 2])
    ours, theirs = (
        compute(backbone, inputs),
        compute(backbone, inputs, run_keras_layers),
    )
    assert_same(ours, theirs)


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_flow_through_each_output(backbones, family):
    backbone, inputs = backbones[family], build_batch(family, RAGGED)
    for name in reads_of(backbone):
        ours = compute(backbone, inputs, reads=(name,))
        theirs = compute(backbone, inputs, run_keras_layers, reads=(name,))
        assert_same(ours, theirs)


# === What must not matter ===


@quickly
@given(lengths=LENGTHS, seed=SEEDS)
def test_the_order_of_the_batch_is_irrelevant(bert, lengths, seed):
    inputs = build_batch("bert", lengths, seed=seed)
    order = np.random.default_rng(seed).permutation(len(lengths))
    shuffled = {name: value[order] for name, value in inputs.items()}
    outputs, gradients = compute(bert, inputs, reads=("pooled_output",))
    outputs = {name: value[order] for name, value in outputs.items()}
    assert_same_outputs(compute(bert, shuffled, reads=("pooled_output",))[0], outputs)
    both = encode_freely(bert, inputs), encode_freely(bert, shuffled)
    for name in both[0]:
        np.testing.assert_allclose(both[0][name][order], both[1][name], atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_company_of_a_text_is_irrelevant(backbones, family):
    backbone, inputs = backbones[family], build_batch(family, RAGGED)
    together = encode_freely(backbone, inputs)
    for row in range(len(RAGGED)):
        alone = {name: value[[row]] for name, value in inputs.items()}
        for name, output in encode_freely(backbone, alone).items():
            np.testing.assert_allclose(output[0], together[name][row], atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@quickly
@given(lengths=LENGTHS, padding=st.integers(0, 8), seed=SEEDS)
def test_what_and_how_much_padding_there_is_is_irrelevant(
    backbones, family, lengths, padding, seed
):
    backbone, longest = backbones[family], max(lengths)
    inputs = build_batch(family, lengths, seed=seed)
    other = build_batch(family, lengths, num_columns=longest + padding, seed=seed + 1)
    real = inputs["padding_mask"] == 1
    for name in inputs:
        other[name][:, :longest][real] = inputs[name][real]
    one, two = compute(backbone, inputs), compute(backbone, other)
    cut = {"sequence_output": two[0]["sequence_output"][:, :longest]}
    for name, output in (two[0] | cut).items():
        np.testing.assert_array_equal(one[0][name], output)


def test_outputs_at_padding_are_zero(bert):
    inputs = build_batch("bert", RAGGED)
    sequence = run_packed(bert, inputs)["sequence_output"].detach().numpy()
    assert not sequence[inputs["padding_mask"] == 0].any()
    assert sequence[inputs["padding_mask"] == 1].all()


def test_a_mask_may_be_bool_or_float(bert):
    inputs = build_batch("bert", RAGGED)
    expected = encode_freely(bert, inputs)
    for dtype in ("bool", "float32", "int64"):
        changed = inputs | {"padding_mask": inputs["padding_mask"].astype(dtype)}
        for name, output in encode_freely(bert, changed).items():
            np.testing.assert_array_equal(output, expected[name])


def test_inputs_may_be_arrays_or_tensors_of_any_integers(bert):
    inputs = build_batch("bert", RAGGED)
    expected = encode_freely(bert, inputs)
    for change in (
        lambda value: value.astype("int64"),
        lambda value: value.astype("uint8"),
        torch.as_tensor,
        lambda value: torch.as_tensor(value).T.contiguous().T,
    ):
        changed = {name: change(value) for name, value in inputs.items()}
        with torch.no_grad():
            outputs = bert(changed)
        for name, output in outputs.items():
            np.testing.assert_array_equal(output.numpy(), expected[name])


# === Computing no more than is asked for ===


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("lengths", [RAGGED, [5], [2] * 18], ids=str)
def test_the_first_output_alone_is_that_of_the_whole(backbones, family, lengths):
    backbone, inputs = backbones[family], build_batch(family, lengths)
    alone = encode(backbone, inputs, "first_output")
    whole = encode(backbone, inputs, "sequence_output")["sequence_output"][:, 0]
    assert_same_parts(backbone, alone, {"first_output": whole})


@pytest.mark.parametrize("lengths", [RAGGED, [5], [2] * 18], ids=str)
def test_the_pooled_output_alone_is_that_of_the_whole(bert, lengths):
    inputs = build_batch("bert", lengths)
    alone = encode(bert, inputs, "pooled_output")
    whole = encode(bert, inputs, "sequence_output", "pooled_output")
    assert_same_parts(bert, alone, {"pooled_output": whole["pooled_output"]})


def test_first_and_pooled_outputs_may_be_asked_for_together(bert):
    inputs = build_batch("bert", RAGGED)
    names = ("first_output", "pooled_output")
    some = encode(bert, inputs, *names)
    everything = encode(bert, inputs, "sequence_output", *names)
    assert_same_parts(bert, some, {name: everything[name] for name in names})


def assert_same_parts(backbone, ours, theirs):
    gradients = differentiate(backbone, ours), differentiate(backbone, theirs)
    detach = [
        {k: v.detach().numpy() for k, v in part.items()} for part in (ours, theirs)
    ]
    assert_same_outputs(*detach)
    assert_same_gradients(*gradients)


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_two_passes_may_precede_one_way_back(name):
    backbone = build_backbone(precision=name)
    batches = [build_batch("bert", RAGGED, seed=seed) for seed in (1, 2)]
    outputs = [run_packed(backbone, batch)["pooled_output"] for batch in batches]
    ours = differentiate(backbone, {"pooled_output": outputs[0] + outputs[1]})
    parts = [compute(backbone, batch, reads=("pooled_output",))[1] for batch in batches]
    assert_same_gradients(
        ours, {path: parts[0][path] + parts[1][path] for path in ours}
    )


def test_outputs_not_asked_for_are_none(bert):
    outputs = bert.encode(to_tensors(build_batch("bert", [3])), outputs=())
    assert outputs["sequence_output"] is None and outputs["pooled_output"] is None


# === Weights ===


def test_weights_are_read_at_every_call():
    backbone, other = build_backbone(seed=0), build_backbone(seed=1)
    inputs = build_batch("bert", RAGGED)
    before, expected = encode_freely(backbone, inputs), encode_freely(other, inputs)
    kept = [np.array(weight) for weight in backbone.get_weights()]
    backbone.set_weights(other.get_weights())
    for name, output in encode_freely(backbone, inputs).items():
        np.testing.assert_array_equal(output, expected[name])
    backbone.set_weights(kept)
    for name, output in encode_freely(backbone, inputs).items():
        np.testing.assert_array_equal(output, before[name])


WRITERS = {
    "assign": lambda variable, value: variable.assign(value),
    "in place": lambda variable, value: variable.value.copy_(value),
    "data": lambda variable, value: variable.value.data.copy_(value),
    "torch's fused AdamW": lambda variable, value: write_by_fused_adamw(
        variable.value, value
    ),
}


def write_by_fused_adamw(parameter, value):
    """Let torch's fused kernel take the step to a value, sign by sign."""
    optimizer = torch.optim.AdamW([parameter], 0.1, weight_decay=0.0, fused=True)
    parameter.grad = parameter.detach() - value
    optimizer.step()
    parameter.grad = None


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS.keys())
@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize("read_before", ["training", "inference"])
def test_a_weight_written_in_any_way_counts_at_once(name, write, training, read_before):
    backbone = build_backbone(precision=name, dropout=0.0)
    other, inputs = build_backbone(seed=1), build_batch("bert", RAGGED)

    def run(encoder, training):
        with torch.set_grad_enabled(training):
            outputs = encoder(inputs, training=training)
        return outputs["pooled_output"].detach()

    run(backbone, read_before == "training")
    run(backbone, training)
    with torch.no_grad():
        for variable, source in zip(backbone.weights, other.weights, strict=True):
            write(variable, source.value.detach())
    fresh = build_backbone(precision=name, dropout=0.0)
    fresh.set_weights([np.array(weight) for weight in backbone.get_weights()])
    np.testing.assert_allclose(run(backbone, training), run(fresh, training), atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_single_weight_has_its_effect(family):
    backbone, inputs = build_backbone(family), build_batch(family, RAGGED)
    before = encode_freely(backbone, inputs)
    for variable in backbone.weights:
        value = variable.value.detach().clone()
        variable.assign(value + 0.1 * torch.randn_like(value))
        ours = encode_freely(backbone, inputs)
        theirs = run_keras_layers(backbone, inputs)
        theirs = blank_padding(theirs, inputs["padding_mask"])
        assert_same_outputs(ours, {k: v.detach().numpy() for k, v in theirs.items()})
        if not variable.path.endswith("key/bias"):
            change = max(np.abs(ours[name] - before[name]).max() for name in ours)
            assert change > 1e-5, variable.path
        variable.assign(value)


def test_frozen_weights_get_no_gradient_and_the_rest_keep_theirs():
    backbone, inputs = build_backbone(dropout=0.0), build_batch("bert", RAGGED)
    theirs = compute(backbone, inputs)[1]
    frozen = [backbone.transformer_layers[0], backbone.token_embedding]
    frozen += [backbone.transformer_layers[1]._self_attention_layer.key_dense]
    for layer in frozen:
        layer.trainable = False
    outputs = run_packed(backbone, inputs)
    outputs = blank_padding(outputs, inputs["padding_mask"])
    loss = sum((outputs[k] * draw_probe(outputs[k].shape, 7)).sum() for k in outputs)
    loss.backward()
    trained = {variable.path for variable in backbone.trainable_weights}
    for variable in backbone.weights:
        gradient = variable.value.grad
        assert (gradient is not None) == (variable.path in trained), variable.path
    ours = {v.path: v.value.grad.to_dense().numpy() for v in backbone.trainable_weights}
    assert_same_gradients(ours, {path: theirs[path] for path in trained})


def count_saved_bytes(backbone, inputs):
    """Return how much a pass keeps for the way back."""
    sizes = []

    def keep(tensor):
        sizes.append(tensor.nbytes)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        outputs = run_packed(backbone, inputs)
    return sum(sizes), outputs["sequence_output"].requires_grad


def test_nothing_is_kept_for_a_gradient_that_nobody_needs():
    backbone = build_backbone(num_layers=4, dropout=0.0)
    inputs = build_batch("bert", RAGGED)
    whole, _ = count_saved_bytes(backbone, inputs)
    kbert.freeze(backbone, layers=3, embeddings=True)
    part, needed = count_saved_bytes(backbone, inputs)
    assert needed and part < 0.5 * whole
    kbert.freeze(backbone)
    assert count_saved_bytes(backbone, inputs) == (0, False)
    kbert.unfreeze(backbone)
    assert count_saved_bytes(backbone, inputs) == (whole, True)


def test_trainable_false_freezes_the_whole_encoder():
    backbone, inputs = build_backbone(), build_batch("bert", RAGGED)
    backbone.trainable = False
    assert not any(o.requires_grad for o in run_packed(backbone, inputs).values())
    backbone.trainable = True
    assert all(o.requires_grad for o in run_packed(backbone, inputs).values())


# === Graphs and changed layers ===


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "read",
    [
        lambda x: x[:, 0, :],
        lambda x: x[:, 0],
        lambda x: x[:, 1, :],
        lambda x: x[:, 0, :] + keras.ops.max(x, 1),
        lambda x: (x[:, 0, :], x),
    ],
    ids=["first", "first row", "second", "first and all", "two outputs"],
)
def test_a_users_functional_graph_equals_the_keras_layers(backbones, family, read):
    backbone, inputs = backbones[family], build_batch(family, RAGGED)
    sequence = name_outputs(backbone(backbone.input))["sequence_output"]
    model = kbert.Model(backbone.input, read(sequence))
    expected = run_keras_layers(backbone, inputs)
    expected = blank_padding(expected, inputs["padding_mask"])["sequence_output"]
    for ours, theirs in zip(
        keras.tree.flatten(model(inputs)),
        keras.tree.flatten(read(expected)),
        strict=True,
    ):
        np.testing.assert_allclose(ours.detach(), theirs.detach(), atol=1e-5)


def test_one_encoder_may_read_two_texts(bert):
    pairs = [build_batch("bert", RAGGED, seed=seed) for seed in (1, 2)]
    inputs = [
        {name: keras.Input((None,), dtype="int32") for name in bert.input}
        for _ in pairs
    ]
    outputs = [bert(part) for part in inputs]
    model = kbert.Model(
        inputs, [outputs[0]["pooled_output"], outputs[1]["sequence_output"][:, 0, :]]
    )
    first, second = model(pairs)
    expected = [run_keras_layers(bert, batch) for batch in pairs]
    np.testing.assert_allclose(
        first.detach(), expected[0]["pooled_output"].detach(), atol=1e-5
    )
    np.testing.assert_allclose(
        second.detach(), expected[1]["sequence_output"][:, 0].detach(), atol=1e-5
    )


def test_a_graph_may_end_at_an_inner_layer(bert):
    inputs = build_batch("bert", [9, 9, 9])
    inner = bert.get_layer("transformer_layer_0").output
    hidden = keras.Model(bert.input, inner)(inputs)
    rest = bert.get_layer("transformer_layer_1")
    expected = run_packed(bert, inputs)["sequence_output"]
    np.testing.assert_allclose(
        rest(hidden, inputs["padding_mask"]).detach(), expected.detach(), atol=1e-5
    )


def assert_falls_back(backbone, inputs):
    """Check that the model around a changed encoder runs the changed layers."""
    assert not backbone.runs_packed
    expected = run_keras_layers(backbone, inputs)
    outputs = run_packed(backbone, inputs)
    first = backbone(backbone.input)["sequence_output"][:, 0, :]
    pooled = backbone(backbone.input)["pooled_output"]
    ours = kbert.Model(backbone.input, [first, pooled])(inputs)
    for name, output in outputs.items():
        np.testing.assert_array_equal(output.detach(), expected[name].detach())
    np.testing.assert_array_equal(
        ours[0].detach(), expected["sequence_output"][:, 0].detach()
    )
    np.testing.assert_array_equal(ours[1].detach(), expected["pooled_output"].detach())


@pytest.mark.parametrize("part", ["dense", "attention", "tokens"])
def test_an_encoder_with_lora_runs_as_keras_does(part):
    backbone, inputs = build_backbone(), build_batch("bert", RAGGED)
    before = encode_freely(backbone, inputs)["pooled_output"]
    layer = backbone.transformer_layers[0]
    changed = {
        "dense": layer._feedforward_output_dense,
        "attention": layer._self_attention_layer.query_dense,
        "tokens": backbone.token_embedding,
    }[part]
    changed.enable_lora(2)
    for weight in (v for v in changed.weights if "lora" in v.path):
        weight.assign(np.random.default_rng(3).normal(0, 0.5, weight.shape))
    assert_falls_back(backbone, inputs)
    after = encode_freely(backbone, inputs)["pooled_output"]
    assert np.abs(after - before).max() > 1e-3


def test_a_quantised_encoder_runs_as_keras_does():
    backbone, inputs = build_backbone(hidden_dim=32), build_batch("bert", RAGGED)
    before = encode_freely(backbone, inputs)["pooled_output"]
    backbone.transformer_layers[1]._feedforward_intermediate_dense.quantize("int8")
    assert_falls_back(backbone, inputs)
    after = encode_freely(backbone, inputs)["pooled_output"]
    np.testing.assert_allclose(after, before, atol=0.1)


# === Dropout ===


F32, BF16 = torch.float32, torch.bfloat16


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5])
@pytest.mark.parametrize("dtype", [F32, BF16], ids=str)
def test_dropout_keeps_its_share_and_the_scale_makes_up_for_it(rate, dtype):
    dropout = Dropout(rate, 3, CPU)
    mask = dropout.draw((1000, 401), dtype)
    deviation = (rate * (1 - rate) / mask.numel()) ** 0.5
    assert mask.dtype == dtype and mask.shape == (1000, 401)
    assert mask.unique().tolist() == [0.0, 1.0]
    assert abs(float(mask.float().mean()) - (1 - rate)) < 5 * deviation
    assert dropout.scale == pytest.approx(1 / (1 - rate), rel=1e-4)
    values = dropout.apply(torch.full((100, 7), 2.0)).unique()
    np.testing.assert_allclose(values, [0.0, 2.0 * dropout.scale], rtol=1e-6)


@pytest.mark.parametrize("rate", [0.1, 0.5])
@pytest.mark.parametrize("dtype", [F32, BF16, torch.float16], ids=str)
def test_marked_values_are_those_that_a_mask_drops(rate, dtype):
    x = torch.rand(30, 7, 11).to(dtype)
    x[0] = 0.0  # probabilities of padding
    mask = Dropout(rate, 4, CPU).draw(tuple(x.shape), dtype)
    marked = Dropout(rate, 4, CPU).mark(x.clone())
    assert torch.equal(torch.relu(marked), x * mask)
    assert torch.equal(marked.abs(), x)


def test_no_place_of_a_mask_is_favoured():
    dropout, draws = Dropout(0.25, 5, CPU), 4000
    kept = sum(dropout.draw((3, 37), F32).double() for _ in range(draws)) / draws
    deviation = (0.25 * 0.75 / draws) ** 0.5
    assert float((kept - 0.75).abs().max()) < 5 * deviation


def test_masks_differ_from_draw_to_draw_and_seed_to_seed():
    dropout, same, other = (Dropout(0.5, seed, CPU) for seed in (1, 1, 2))
    first, second = dropout.draw((64, 64), F32), dropout.draw((64, 64), F32)
    for one, two in ((first, second), (first, other.draw((64, 64), F32))):
        # Independent halves agree in half of the places.
        assert abs(float((one == two).float().mean()) - 0.5) < 0.05
    assert torch.equal(first, same.draw((64, 64), F32))


def test_the_gradient_takes_the_mask_of_the_way_there():
    dropout, x = Dropout(0.4, 9, CPU), torch.randn(50, 8, requires_grad=True)
    residual = torch.randn(50, 8, requires_grad=True)
    y = dropout.apply(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    np.testing.assert_allclose(gradient * x.detach(), y.detach(), rtol=1e-6)
    y = dropout.add(x, residual)
    gradients = torch.autograd.grad(y.sum(), (x, residual))
    difference = (y - residual).detach()
    np.testing.assert_allclose(gradients[0] * x.detach(), difference, atol=1e-6)
    assert torch.equal(gradients[1], torch.ones(50, 8))


@pytest.mark.parametrize("kind", ["apply", "add"])
def test_the_mean_over_many_masks_is_what_no_dropout_gives(kind):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6, 16, generator=generator)
    residual = torch.randn(6, 16, generator=generator)
    probe = torch.randn(16, generator=generator)
    dropout = Dropout(0.1, 11, CPU)
    draws = torch.stack(
        [
            (dropout.apply(x) if kind == "apply" else dropout.add(x, residual)) @ probe
            for _ in range(3000)
        ]
    )
    exact = (x if kind == "apply" else x + residual) @ probe
    assert_mean(draws, exact)


def assert_mean(draws, exact):
    error = (draws.mean(0) - exact).abs() / (draws.std(0) / len(draws) ** 0.5)
    assert float(error.max()) < 5


@pytest.mark.parametrize("free", [False, True], ids=["with gradient", "without"])
def test_the_mean_over_many_attentions_is_the_attention_without_dropout(free):
    generator = torch.Generator().manual_seed(1)
    mask = torch.arange(9) < torch.tensor([[9], [4], [1], [6]])
    packing = build_packing(mask, num_heads=2)
    projected = torch.randn(packing.num_tokens, 24, generator=generator)
    projected.requires_grad_(not free)
    dropout, real = Dropout(0.2, 13, CPU), packing.num_real_tokens
    with torch.set_grad_enabled(not free):
        exact = attend(projected, None, packing, 2, None)[:real].detach()
        draws = torch.stack(
            [
                attend(projected, None, packing, 2, dropout)[:real].detach()
                for _ in range(1500)
            ]
        )
    varies = draws.std(0) > 1e-6
    assert varies.float().mean() > 0.9
    error = (draws.mean(0) - exact).abs()[varies]
    assert float((error / draws.std(0)[varies] * 1500**0.5).max()) < 5


def test_each_layer_draws_masks_of_its_own(monkeypatch):
    masks, draw = [], Dropout._draw_signs

    def keep(self, shape):
        masks.append(draw(self, shape))
        return masks[-1]

    monkeypatch.setattr(Dropout, "_draw_signs", keep)
    backbone, inputs = build_backbone(dropout=0.5), build_batch("bert", [8] * 4)
    encode_in_training(backbone, inputs)
    num_layers = backbone.config.num_layers
    hidden = [mask[:32] < 0 for mask in masks if mask.ndim == 2]
    attention = [mask < 0 for mask in masks if mask.ndim == 4]
    assert len(hidden) == 1 + 2 * num_layers and len(attention) == num_layers
    for drawn in (hidden, attention):
        for index, one in enumerate(drawn):
            for two in drawn[:index]:
                assert abs(float((one == two).float().mean()) - 0.5) < 0.15


def test_training_drops_and_follows_the_seed_and_inference_does_not():
    backbone, inputs = build_backbone(dropout=0.1), build_batch("bert", RAGGED)
    calm = [run_packed(backbone, inputs)["pooled_output"] for _ in range(2)]
    assert torch.equal(*calm)
    runs = []
    for seed in (1, 1, 2):
        backbone.seed_generator = keras.random.SeedGenerator(seed)
        runs.append([encode_in_training(backbone, inputs) for _ in range(2)])
    assert torch.equal(runs[0][0], runs[1][0]) and torch.equal(runs[0][1], runs[1][1])
    assert not torch.equal(runs[0][0], runs[0][1]), "two steps have the same masks"
    assert not torch.equal(runs[0][0], runs[2][0]), "two seeds have the same masks"


def test_a_rate_of_zero_drops_nothing():
    backbone, inputs = build_backbone(dropout=0.0), build_batch("bert", RAGGED)
    expected = run_packed(backbone, inputs)["sequence_output"]
    assert torch.equal(encode_in_training(backbone, inputs), expected)


def test_gradients_of_a_training_pass_are_bit_identical_under_one_seed():
    results = []
    for _ in range(2):
        backbone = build_backbone(dropout=0.1)
        backbone.seed_generator = keras.random.SeedGenerator(4)
        inputs = build_batch("bert", RAGGED)
        output = encode_in_training(backbone, inputs)
        probe = draw_probe(output.shape, 7)
        values = [v.value for v in backbone.weights if "pooled" not in v.path]
        results.append(torch.autograd.grad((output * probe).sum(), values))
    for one, two in zip(*results, strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("family", FAMILIES)
def test_dropout_gradients_are_those_of_the_masks_drawn(family):
    # In double-sided differences along a random direction, with the seed held.
    backbone, inputs = build_backbone(family, dropout=0.2), build_batch(family, RAGGED)
    probe = draw_probe((len(RAGGED), max(RAGGED), 16), 7)

    def loss():
        backbone.seed_generator = keras.random.SeedGenerator(4)
        return (encode_in_training(backbone, inputs) * probe).sum()

    variables = [v for v in backbone.weights if "pooled" not in v.path]
    gradients = torch.autograd.grad(loss(), [v.value for v in variables])
    generator = torch.Generator().manual_seed(0)
    for variable, gradient in zip(variables, gradients, strict=True):
        gradient, value = gradient.to_dense(), variable.value.detach().clone()
        direction = torch.randn(value.shape, generator=generator)
        direction = direction / direction.norm() + gradient / (gradient.norm() + 1e-6)
        slope = float((gradient * direction).sum())
        with torch.no_grad():
            variable.assign(value + 2e-3 * direction)
            above = float(loss())
            variable.assign(value - 2e-3 * direction)
            below = float(loss())
            variable.assign(value)
        assert (above - below) / 4e-3 == pytest.approx(slope, rel=0.02, abs=0.2)


# === Precision ===


def compute_cosine(one, two):
    one, two = one.ravel(), two.ravel()
    return float(one @ two / (np.linalg.norm(one) * np.linalg.norm(two)))


@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_stays_near_float32(family):
    shape = {"hidden_dim": 64, "num_heads": 4, "intermediate_dim": 128}
    exact, rounded = (
        build_backbone(family, precision=name, **shape)
        for name in ("float32", "bfloat16")
    )
    inputs = build_batch(family, RAGGED)
    theirs, ours = compute(exact, inputs), compute(rounded, inputs)
    # One bfloat16 step at 4, the largest of the outputs, is 3.1e-2.
    assert_same_outputs(ours[0], theirs[0], tolerance=5e-2)
    errors = np.abs(ours[0]["sequence_output"] - theirs[0]["sequence_output"])
    assert errors.mean() < 5e-3
    whole = [
        np.concatenate([gradient.ravel() for gradient in result[1].values()])
        for result in (ours, theirs)
    ]
    assert compute_cosine(*whole) > 0.99
    overall = np.linalg.norm(whole[1])
    for path, gradient in theirs[1].items():
        if np.linalg.norm(gradient) > 1e-2 * overall:
            assert compute_cosine(ours[1][path], gradient) > 0.99, path


def test_bfloat16_gives_float32_outputs_and_gradients():
    backbone = build_backbone(precision="bfloat16")
    inputs = build_batch("bert", RAGGED)
    outputs, gradients = compute(backbone, inputs)
    for value in (*outputs.values(), *gradients.values()):
        assert value.dtype == np.float32 and np.isfinite(value).all()
    assert all(variable.dtype == "float32" for variable in backbone.weights)


def test_first_output_alone_is_that_of_the_whole_in_bfloat16():
    backbone = build_backbone(precision="bfloat16")
    inputs = build_batch("bert", RAGGED)
    alone = encode(backbone, inputs, "first_output")["first_output"]
    whole = encode(backbone, inputs, "sequence_output")["sequence_output"][:, 0]
    np.testing.assert_allclose(alone.detach(), whole.detach(), atol=6e-2)


def test_the_probe_is_quick_and_runs_once():
    precision.probe_cpu.cache_clear()
    started = time.perf_counter()
    probe = precision.probe_cpu()
    assert time.perf_counter() - started < 0.4  # 0.06 where nothing else runs
    assert precision.probe_cpu() is probe
    assert probe.bfloat16_gain > 0


@pytest.mark.parametrize(
    ("gain", "expected"),
    [(0.01, torch.float32), (1.0, torch.float32), (2.5, torch.bfloat16)],
)
def test_auto_takes_bfloat16_only_where_it_is_clearly_faster(
    monkeypatch, gain, expected
):
    monkeypatch.setattr(precision, "probe_cpu", lambda: CpuProbe(gain, 0.0))
    assert resolve_precision("auto", CPU) == expected
    assert build_backbone(precision="auto").compute_precision == expected


def test_a_slow_bfloat16_is_found_out_and_not_waited_for(monkeypatch):
    multiply, waits = torch.mm, []

    def slow(x, kernel, **options):
        if x.dtype == torch.bfloat16:
            waits.append(time.sleep(0.01))
        return multiply(x, kernel, **options)

    monkeypatch.setattr(torch, "mm", slow)
    precision.probe_cpu.cache_clear()
    try:
        assert resolve_precision("auto", CPU) == torch.float32
        assert 0 < len(waits) < 20
    finally:
        precision.probe_cpu.cache_clear()


@pytest.mark.parametrize("num_interrupted", [0, 1, 7])
def test_an_interrupted_timing_decides_nothing(monkeypatch, num_interrupted):
    counts: dict = {}

    def pretend(product):
        dtype = product.args[0].dtype if hasattr(product, "args") else "fast"
        counts[dtype] = counts.get(dtype, 0) + 1
        seconds = 0.001 if dtype == torch.bfloat16 else 0.002
        interrupted = dtype == torch.bfloat16 and counts[dtype] <= num_interrupted
        return seconds + 0.1 * counts[dtype] * interrupted

    monkeypatch.setattr(precision, "_time", pretend)
    probe = precision.probe_cpu.__wrapped__()
    assert probe.bfloat16_gain == 2
    # Asked twice, whether it is hopeless and how fast it is.
    assert counts[torch.bfloat16] == 2 * 3 + num_interrupted


@pytest.mark.parametrize(
    ("saved", "device", "gain", "expected"),
    [
        ("bfloat16", "cpu", 1.1, "bfloat16"),  # where auto would take float32
        ("float32", "cpu", 2.5, "float32"),  # where auto would take bfloat16
        ("bfloat16", "cpu", 0.01, "float32"),
        ("float16", "cpu", 2.5, "bfloat16"),
        ("float16", "cpu", 0.01, "float32"),
        ("float16", "cuda", 2.5, "float16"),
        ("bfloat16", "cuda", 2.5, "bfloat16"),
        ("bfloat16", "cuda", 0.01, "float16"),
        ("float32", "cuda", 2.5, "bfloat16"),
    ],
)
def test_auto_stays_what_was_saved_unless_that_is_slow_here(
    monkeypatch, caplog, saved, device, gain, expected
):
    monkeypatch.setattr(precision, "probe_cpu", lambda: CpuProbe(gain, 0.0))
    monkeypatch.setattr(precision, "_has_fast_bfloat16_gpu", lambda device: gain > 1)
    precision._say_what_changes.cache_clear()
    for _ in range(2):
        found = resolve_precision("auto", torch.device(device), saved)
        assert found == getattr(torch, expected)
    assert len(caplog.messages) == (saved != expected)
    for message in caplog.messages:
        assert f"saved computing in {saved}, which is slow on this {device}" in message
        assert f"computes in {expected} here" in message


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_a_named_precision_is_taken_as_it_is(name):
    assert resolve_precision(name, CPU) == getattr(torch, name)


@pytest.mark.parametrize("name", ["float8", "half", "", None, "float16"])
def test_a_precision_that_cannot_be_is_one_sentence(name):
    with pytest.raises(ValueError) as error:
        resolve_precision(name, CPU)
    message = str(error.value)
    assert "\n" not in message and message.endswith(".") and len(message) < 200
    assert "precision" in message and repr(name) in message


def test_float32_products_keep_the_settings_of_torch_as_they_were(bert):
    matmul = getattr(torch.backends.mkldnn, "matmul", None)
    before = getattr(matmul, "fp32_precision", None)
    encode_freely(bert, build_batch("bert", RAGGED))
    assert getattr(matmul, "fp32_precision", None) == before


def test_the_vocabulary_of_these_tests_is_the_encoders(bert):
    assert bert.config.vocabulary_size == VOCABULARY_SIZE
