"""What fit, evaluate and predict take: every kind of data, weights, order."""

import itertools

import keras
import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset

import kbert
from kbert.batches import TrainingBatches, fill_batches

NUM_TEXTS, BATCH = 24, 8
TEXTS, LABELS = tiny.write_texts(NUM_TEXTS, seed=3)
NAMES = ("negative", "positive")
NAMED = [NAMES[label] for label in LABELS]
# By hand, in scikit-learn's way; the classes are uneven.
COUNTS = np.bincount(LABELS)
BALANCED = {i: NUM_TEXTS / (2 * int(COUNTS[i])) for i in range(2)}
DICT = {0: 0.25, 1: 3.0}
assert COUNTS[0] != COUNTS[1]


class Rows(keras.utils.PyDataset):
    """Batches of whatever `select` gives for some rows."""

    def __init__(self, select, weights=None, labels=LABELS):
        super().__init__()
        self.select, self.weights, self.labels = select, weights, labels

    def __len__(self):
        return NUM_TEXTS // BATCH

    def __getitem__(self, index):
        rows = slice(index * BATCH, (index + 1) * BATCH)
        batch = self.select(rows), self.labels[rows]
        return batch if self.weights is None else (*batch, self.weights[rows])


class TorchRows(Dataset):
    """Items for a torch DataLoader."""

    def __init__(self, items, weights=None, labels=LABELS):
        self.items, self.weights, self.labels = items, weights, labels

    def __len__(self):
        return NUM_TEXTS

    def __getitem__(self, row):
        item = self.items[row] if isinstance(self.items, list) else None
        if item is None:
            item = {name: array[row] for name, array in self.items.items()}
        found = item, self.labels[row]
        return found if self.weights is None else (*found, self.weights[row])


def make_arrays():
    return tiny.build_model(compile=False).preprocessor(TEXTS)


def make_hub_dataset(texts, labels):
    from datasets import Dataset as HubDataset

    return HubDataset.from_dict({"text": texts, "label": [int(i) for i in labels]})


def make_split(texts, labels):
    named = [NAMES[label] for label in labels]
    return kbert.load_split((list(texts), named), label_names=NAMES)


def arguments_of(kind: str, weights=None) -> dict:
    """Return what `fit` is called with; loaders hold their weights themselves."""
    frame = pd.DataFrame({"text": TEXTS, "label": LABELS})
    arrays = make_arrays()
    loaders = {
        "PyDataset of texts": lambda w: Rows(lambda rows: TEXTS[rows], w),
        "PyDataset of arrays": lambda w: Rows(
            lambda rows: {k: v[rows] for k, v in arrays.items()}, w
        ),
        "DataLoader of texts": lambda w: DataLoader(TorchRows(TEXTS, w), BATCH),
        "DataLoader of arrays": lambda w: DataLoader(TorchRows(arrays, w), BATCH),
    }
    if kind in loaders:
        return {"x": loaders[kind](weights)}
    found = {
        "split": {"x": make_split(TEXTS, LABELS)},
        "tuple": {"x": (TEXTS, LABELS)},
        "x and y": {"x": TEXTS, "y": LABELS.tolist()},
        "names": {"x": TEXTS, "y": NAMED},
        "arrays": {"x": arrays, "y": LABELS},
        "arrays and names": {"x": arrays, "y": np.array(NAMED)},
        "columns": {"x": frame["text"], "y": frame["label"]},
        "string array": {"x": np.array(TEXTS), "y": LABELS},
        "datasets": {"x": make_hub_dataset(TEXTS, LABELS)},
    }[kind]
    found["batch_size"] = BATCH
    return found if weights is None else {**found, "sample_weight": weights}


KINDS = (
    "split",
    "tuple",
    "x and y",
    "names",
    "arrays",
    "arrays and names",
    "columns",
    "string array",
    "datasets",
    "PyDataset of texts",
    "PyDataset of arrays",
    "DataLoader of texts",
    "DataLoader of arrays",
)


def train(arguments: dict, **changes) -> list[np.ndarray]:
    """Return the weights after one epoch in the rows' own order."""
    model = tiny.build_model(dropout=changes.pop("dropout", 0.0))
    changes = {"shuffle": False, "verbose": 0} | changes
    model.fit(**arguments, **changes)
    return tiny.read_weights(model)


@pytest.fixture(scope="module")
def expected() -> list[np.ndarray]:
    return train({"x": TEXTS, "y": LABELS, "batch_size": BATCH})


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_data_trains_the_same_weights(kind, expected):
    assert tiny.largest_difference(train(arguments_of(kind)), expected) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weight", ["balanced", DICT], ids=["balanced", "dict"])
def test_class_weight_equals_sample_weight_by_hand(kind, weight, expected):
    table = BALANCED if weight == "balanced" else weight
    by_hand = np.array([table[label] for label in LABELS], "float32")
    weighted = train(arguments_of(kind), class_weight=weight)
    tiny.assert_same_weights(weighted, train(arguments_of(kind, by_hand)))
    assert tiny.largest_difference(weighted, expected) > 1e-5


@pytest.mark.parametrize("kind", ["DataLoader of texts", "DataLoader of arrays"])
def test_balancing_a_shuffled_loader_does_not_change_its_order(kind):
    items = TEXTS if "texts" in kind else make_arrays()
    weights = np.array([BALANCED[label] for label in LABELS], "float32")
    results = []
    for class_weight, sample_weight in (("balanced", None), (None, weights)):
        loader = DataLoader(TorchRows(items, sample_weight), BATCH, shuffle=True)
        results.append(train({"x": loader}, class_weight=class_weight))
    tiny.assert_same_weights(*results)


@pytest.mark.parametrize("kind", ["x and y", "arrays", "PyDataset of texts"])
def test_class_weight_and_sample_weight_multiply(kind):
    own = np.linspace(0.5, 2.0, NUM_TEXTS).astype("float32")
    both = own * np.array([DICT[label] for label in LABELS], "float32")
    weighted = train(arguments_of(kind, own), class_weight=DICT)
    tiny.assert_same_weights(weighted, train(arguments_of(kind, both)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "wrong", [{0: 1.0}, {0: 1.0, 1: 1.0, 2: 1.0}, {"negative": 1, "positive": 2}, "yes"]
)
def test_an_incomplete_class_weight_is_refused(kind, wrong):
    if kind not in ("split", "arrays", "DataLoader of texts"):
        pytest.skip("three kinds stand for the three ways")
    with pytest.raises(ValueError, match=r"for every label id in \[0, 2\)"):
        train(arguments_of(kind), class_weight=wrong)


def test_a_balanced_weight_needs_every_class():
    with pytest.raises(ValueError, match="class 1 has no training example"):
        train({"x": TEXTS, "y": [0] * NUM_TEXTS}, class_weight="balanced")


def test_a_class_weight_needs_labels_to_weigh():
    def forever():
        while True:
            yield make_arrays(), LABELS

    with pytest.raises(ValueError, match="class_weight needs labels"):
        train({"x": forever()}, class_weight=DICT, steps_per_epoch=1)


def test_one_sigmoid_has_two_classes_to_weigh():
    results = []
    for arguments in (
        {"class_weight": "balanced"},
        {"sample_weight": np.array([BALANCED[i] for i in LABELS], "float32")},
    ):
        kbert.set_seed(0)
        backbone = kbert.load_backbone(tiny.build_preset(), precision="float32")
        x = backbone(backbone.input)["pooled_output"]
        outputs = keras.layers.Dense(1, activation="sigmoid")(x)
        model = kbert.Model(backbone.input, outputs)
        model.compile(kbert.adamw(1e-3), "binary_crossentropy")
        model.fit(make_arrays(), LABELS, verbose=0, **arguments)
        results.append(tiny.read_weights(model))
    tiny.assert_same_weights(*results)


def test_one_hot_labels_train_and_weigh():
    model = tiny.build_model(loss="categorical_crossentropy", dropout=0.0)
    one_hot = np.eye(2, dtype="float32")[LABELS]
    model.fit(TEXTS, one_hot, BATCH, shuffle=False, verbose=0, class_weight="balanced")
    expected = train(arguments_of("x and y"), class_weight="balanced")
    assert tiny.largest_difference(tiny.read_weights(model), expected) < 1e-6


# === Pairs ===


def test_pairs_come_as_a_list_or_a_split():
    others = TEXTS[::-1]
    pairs = list(zip(TEXTS, others, strict=True))
    frame = pd.DataFrame({"a": TEXTS, "b": others, "label": NAMED})
    split = kbert.load_split(
        frame, text="a", text_pair="b", label="label", label_names=NAMES
    )
    listed = train({"x": pairs, "y": LABELS, "batch_size": BATCH})
    tiny.assert_same_weights(listed, train({"x": split, "batch_size": BATCH}))
    table = {"x": frame[["a", "b"]].to_numpy(), "y": LABELS, "batch_size": BATCH}
    tiny.assert_same_weights(listed, train(table))
    assert tiny.largest_difference(listed, train(arguments_of("x and y"))) > 1e-4
    model = tiny.build_model()
    arrays = model.preprocessor(TEXTS, others)
    np.testing.assert_allclose(model.predict(pairs), model.predict(arrays), atol=1e-6)
    np.testing.assert_array_equal(model.predict(split), model.predict(pairs))


# === Validation ===


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "names" not in kind])
def test_validation_data_of_every_kind_gives_the_same_figures(kind):
    model = tiny.build_model(optimizer=kbert.adamw(1e-9))
    before = model.evaluate(TEXTS, LABELS, verbose=0, return_dict=True)
    given = arguments_of(kind)
    data = (given["x"], given["y"]) if "y" in given else given["x"]
    history = model.fit(TEXTS[:8], LABELS[:8], validation_data=data, verbose=0).history
    assert history["val_loss"][0] == pytest.approx(before["loss"], abs=1e-5)
    assert history["val_accuracy"][0] == pytest.approx(before["accuracy"], abs=1e-6)


def test_validation_weights_count():
    model = tiny.build_model(optimizer=kbert.adamw(1e-9))
    weights = np.array([1.0] * 5 + [0.0] * (NUM_TEXTS - 5))
    expected = model.evaluate(TEXTS[:5], LABELS[:5], verbose=0, return_dict=True)
    expected = expected["loss"] * 5 / NUM_TEXTS  # Keras's mean over the batch
    history = model.fit(
        *(TEXTS, LABELS),
        validation_data=(TEXTS, LABELS, weights),
        verbose=0,
        validation_batch_size=NUM_TEXTS,
    ).history
    assert history["val_loss"][0] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("kind", ["split", "x and y", "columns", "arrays", "datasets"])
def test_validation_split_takes_the_last_rows(kind):
    model = tiny.build_model(optimizer=kbert.adamw(1e-9))
    expected = model.evaluate(TEXTS[18:], LABELS[18:], verbose=0, return_dict=True)
    model.fit(**arguments_of(kind), validation_split=0.25, verbose=0)
    history = model.history.history
    assert history["val_loss"][0] == pytest.approx(expected["loss"], abs=1e-5)


def test_validation_split_does_not_train_on_what_it_holds_back():
    model = tiny.build_model()
    seen: list[str] = []
    encode = model.preprocessor.encode
    first = set(TEXTS[:18])

    def watch(texts, pairs=None):
        seen.append("train" if set(texts) <= first else "other")
        return encode(texts, pairs)

    model.preprocessor.encode = watch
    steps = []
    count = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: steps.append(batch)
    )
    model.fit(
        *(TEXTS, LABELS, BATCH), validation_split=0.25, verbose=0, callbacks=[count]
    )
    assert len(steps) == 3  # 18 rows in batches of 8
    assert seen.count("train") == 1 and len(seen) == 2


def test_validation_steps_take_the_first_rows():
    model = tiny.build_model(optimizer=kbert.adamw(1e-9))
    expected = model.evaluate(TEXTS[:6], LABELS[:6], verbose=0, return_dict=True)
    history = model.fit(
        *(TEXTS, LABELS),
        validation_data=(TEXTS, LABELS),
        validation_steps=2,
        validation_batch_size=3,
        verbose=0,
    ).history
    assert history["val_loss"][0] == pytest.approx(expected["loss"], abs=1e-5)


# === Order ===


def order_of_epochs(shuffle: bool, seed: int, epochs: int = 3) -> list[list[int]]:
    """Return the rows in the order of each epoch, seen by their weights."""
    model = tiny.build_model(seed=seed)
    seen: list[list[int]] = []

    class Watch(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            seen.append([])

    get_item = TrainingBatches.__getitem__

    def watch(batches, index):
        batch = get_item(batches, index)
        if seen:
            seen[-1].extend(np.asarray(batch[2]).astype(int).tolist())
        return batch

    weights = np.arange(NUM_TEXTS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingBatches, "__getitem__", watch)
        model.fit(
            *(TEXTS, LABELS, BATCH, epochs, 0, [Watch()]),
            sample_weight=weights,
            shuffle=shuffle,
        )
    return seen


def test_shuffle_changes_the_order_every_epoch_and_follows_the_seed():
    first = order_of_epochs(True, seed=5)
    for epoch in first:
        assert sorted(epoch) == list(range(NUM_TEXTS))
    assert first[0] != first[1] != first[2] != first[0]
    assert first == order_of_epochs(True, seed=5)
    assert first != order_of_epochs(True, seed=6)


def test_shuffle_false_keeps_the_rows_order():
    assert order_of_epochs(False, seed=5) == [list(range(NUM_TEXTS))] * 3


@pytest.mark.parametrize(
    "kind", ["arrays", "PyDataset of texts", "DataLoader of texts"]
)
def test_the_order_of_other_data_follows_the_seed_too(kind):
    arguments = arguments_of(kind)
    if kind.startswith("DataLoader"):
        arguments = {"x": DataLoader(TorchRows(TEXTS), BATCH, shuffle=True)}
    results = [train(arguments, shuffle=True, epochs=2) for _ in range(2)]
    tiny.assert_same_weights(*results)
    in_order = train(arguments_of(kind), shuffle=False, epochs=2)
    assert tiny.largest_difference(results[0], in_order) > 1e-6


def test_dropout_and_order_follow_the_seed():
    runs = [tiny.build_model(seed=seed) for seed in (4, 4, 5)]
    for seed, model in zip((4, 4, 5), runs, strict=True):
        kbert.set_seed(seed)
        model.fit(TEXTS, LABELS, BATCH, 2, 0)
    tiny.assert_same_weights(runs[0], runs[1])
    pair = tiny.read_weights(runs[0]), tiny.read_weights(runs[2])
    assert tiny.largest_difference(*pair) > 1e-4


# === Tokenizing ===


def test_texts_are_tokenized_once_however_many_epochs():
    model = tiny.build_model()
    with tiny.count_encoded_rows(model) as calls:
        model.fit(TEXTS, LABELS, BATCH, 4, 0, validation_data=(TEXTS[:5], LABELS[:5]))
    assert sum(calls) == NUM_TEXTS + 5


def test_texts_are_tokenized_beside_training_in_the_order_they_are_needed():
    import threading

    model = tiny.build_model()
    threads = set()
    encode = model.preprocessor.encode

    def watch(texts, pairs=None):
        threads.add(threading.current_thread().name)
        return encode(texts, pairs)

    model.preprocessor.encode = watch
    many = TEXTS * 100  # more than one piece of work for the background
    model.fit(many, np.tile(LABELS, 100), 256, verbose=0)
    assert threads and all("tokenize" in name for name in threads)


def test_more_texts_than_one_chunk_train_as_arrays_do():
    texts, labels = tiny.write_texts(1100, seed=1)
    arrays = tiny.build_model(compile=False).preprocessor(texts)
    raw = train({"x": texts, "y": labels, "batch_size": 256}, epochs=2)
    padded = train({"x": arrays, "y": labels, "batch_size": 256}, epochs=2)
    assert tiny.largest_difference(raw, padded) < 1e-5


def test_an_error_in_the_background_reaches_the_caller(monkeypatch):
    def fail(self, texts, text_pairs=None):
        raise ValueError("the tokenizer gave up")

    monkeypatch.setattr(kbert.Preprocessor, "encode", fail)
    with pytest.raises(ValueError, match="the tokenizer gave up"):
        train({"x": TEXTS, "y": LABELS})


@pytest.mark.parametrize("call", ["fit", "evaluate", "predict"])
def test_what_is_cut_off_is_said_once(call, caplog):
    long = ["the film was good " * 20, "a plot"]
    model = tiny.build_model()
    arguments = (long,) if call == "predict" else (long, [1, 0])
    options = {"epochs": 3} if call == "fit" else {}
    getattr(model, call)(*arguments, verbose=0, **options)
    cut = [r for r in caplog.records if r.name == "kbert" and "24" in r.getMessage()]
    assert len(cut) == 1


# === Labels ===


def test_a_split_is_read_by_its_label_names():
    # The same rows with their classes listed the other way round.
    turned = kbert.load_split((TEXTS, NAMED), label_names=NAMES[::-1])
    assert turned.labels.tolist() == (1 - LABELS).tolist()
    by_name = train({"x": turned, "batch_size": BATCH})
    tiny.assert_same_weights(by_name, train(arguments_of("split")))


def test_a_split_of_one_class_is_evaluated_by_its_name():
    model = tiny.build_model()
    rows = np.flatnonzero(LABELS == 1)
    texts = [TEXTS[row] for row in rows]
    part = kbert.load_split(
        (texts, ["positive"] * len(rows)), label_names=["positive", "negative"]
    )
    expected = model.evaluate(texts, [1] * len(rows), verbose=0)
    assert model.evaluate(part, verbose=0) == expected


def test_a_split_whose_classes_have_other_names_is_read_by_its_ids():
    numbered = kbert.load_split((TEXTS, LABELS.tolist()))
    assert numbered.label_names == ("0", "1")
    by_id = train({"x": numbered, "batch_size": BATCH})
    tiny.assert_same_weights(by_id, train(arguments_of("split")))


@pytest.mark.parametrize("make", [Rows, TorchRows])
def test_loaders_may_hold_label_names(make, expected):
    if make is Rows:
        loader = Rows(lambda rows: TEXTS[rows], labels=NAMED)
    else:
        loader = DataLoader(TorchRows(TEXTS, labels=NAMED), BATCH)
    assert tiny.largest_difference(train({"x": loader}), expected) < 1e-6


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (["positive", "neutral"], "label 'neutral' in row 1 is unknown; .*'negative'"),
        ([0, 2], r"in \[0, 2\); row 1 has 2"),
        ([-1, 0], r"in \[0, 2\); row 0 has -1"),
        ([0.0, 0.5], r"whole numbers in \[0, 2\); row 1 has 0.5"),
        ([0.0, float("nan")], r"in \[0, 2\); row 1 has nan"),
        ([0, 1, 1], "labels must be as many as the texts, 2"),
        (None, "the texts have no labels"),
    ],
)
def test_labels_that_do_not_fit_are_one_sentence(labels, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        train({"x": TEXTS[:2], "y": labels})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"x": "one text", "y": [1]}, "must be a list of str; received one str"),
        ({"x": TEXTS, "y": LABELS, "sample_weight": [1.0]}, "weights must be as many"),
        ({"x": [], "y": []}, "there are no texts"),
    ],
)
def test_data_that_do_not_fit_are_one_sentence(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        train(arguments)


def test_a_hub_dataset_with_other_columns_says_what_to_do():
    from datasets import Dataset as HubDataset

    dataset = HubDataset.from_dict({"review": TEXTS, "label": LABELS.tolist()})
    with pytest.raises(ValueError, match="column.*'text'.*'review'.*load_splits"):
        train({"x": dataset})


# === Evaluate and predict ===


@pytest.mark.parametrize("kind", KINDS)
def test_evaluate_equals_keras_own_on_arrays(kind):
    model = tiny.build_model()
    plain = keras.Model(model.input, model.output)
    plain.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    expected = plain.evaluate(make_arrays(), LABELS, verbose=0, return_dict=True)
    given = {k: v for k, v in arguments_of(kind).items() if k != "batch_size"}
    found = model.evaluate(**given, verbose=0, return_dict=True)
    assert found == pytest.approx(expected, abs=1e-5)
    assert model.evaluate(**given, verbose=0) == pytest.approx(
        [found["loss"], found["accuracy"]], abs=1e-6
    )


def test_evaluate_honours_sample_weight():
    model = tiny.build_model()
    weights = np.linspace(0, 1, NUM_TEXTS)
    arrays = model.evaluate(
        make_arrays(), LABELS, sample_weight=weights, verbose=0, batch_size=NUM_TEXTS
    )
    raw = model.evaluate(
        TEXTS, LABELS, sample_weight=weights, verbose=0, batch_size=NUM_TEXTS
    )
    assert raw == pytest.approx(arrays, abs=1e-5)


def test_predict_gives_probabilities_in_the_callers_order():
    model = tiny.build_model()
    found = model.predict(TEXTS, batch_size=5)
    assert found.shape == (NUM_TEXTS, 2) and found.dtype == np.float32
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)
    one_by_one = np.concatenate([model.predict([text]) for text in TEXTS])
    np.testing.assert_allclose(found, one_by_one, atol=1e-6)
    assert len(np.unique(found[:, 0].round(6))) > 12


@pytest.mark.parametrize("kind", KINDS)
def test_predict_takes_what_fit_takes(kind):
    model = tiny.build_model()
    found = model.predict(arguments_of(kind)["x"])
    np.testing.assert_allclose(found, model.predict(TEXTS), atol=1e-5)


def test_predict_takes_unlabelled_data():
    from datasets import Dataset as HubDataset

    model = tiny.build_model()
    expected = model.predict(TEXTS)
    for x in (
        kbert.load_split(pd.DataFrame({"text": TEXTS}), text="text"),
        HubDataset.from_dict({"text": TEXTS}),
        tuple(TEXTS),
        pd.Series(TEXTS, index=range(100, 100 + NUM_TEXTS)),
    ):
        np.testing.assert_array_equal(model.predict(x), expected)


@pytest.mark.parametrize("pairs", [False, True])
def test_predict_reads_a_generator_a_window_at_a_time(pairs, monkeypatch):
    monkeypatch.setattr("kbert.text_model._WINDOW_ROWS", 10)
    model = tiny.build_model()
    texts = list(zip(TEXTS, TEXTS[::-1], strict=True)) if pairs else TEXTS
    with tiny.count_encoded_rows(model) as calls:
        found = model.predict(text for text in texts)
    assert calls == [10, 10, 4]
    np.testing.assert_allclose(found, model.predict(texts), atol=1e-6)


@pytest.mark.parametrize("nothing", [[], iter([]), ()])
def test_nothing_to_predict_is_one_sentence(nothing):
    with pytest.raises(ValueError, match="no texts|nothing to predict"):
        tiny.build_model().predict(nothing)


def test_predict_honours_steps():
    model = tiny.build_model()
    found = model.predict(TEXTS, batch_size=5, steps=2)
    np.testing.assert_allclose(found, model.predict(TEXTS)[:10], atol=1e-6)


def test_a_classifier_learns():
    texts, labels = tiny.write_texts(200, seed=8)
    model = tiny.build_model(optimizer=kbert.adamw(1e-2))
    history = model.fit(texts[:160], labels[:160], BATCH, 6, 0).history
    assert history["accuracy"][-1] > 0.9
    result = model.evaluate(texts[160:], labels[160:], verbose=0, return_dict=True)
    assert result["accuracy"] > 0.85


def test_train_on_batch_and_predict_on_batch_take_arrays():
    model = tiny.build_model()
    first = model.train_on_batch(make_arrays(), LABELS, return_dict=True)["loss"]
    for _ in range(5):
        last = model.train_on_batch(make_arrays(), LABELS, return_dict=True)["loss"]
    assert last < first
    shown = model.predict_on_batch(make_arrays())
    np.testing.assert_allclose(shown, model.predict(TEXTS), atol=1e-6)
    assert not torch.is_tensor(shown)


def test_evaluating_a_model_that_was_not_compiled_is_one_sentence():
    model = tiny.build_model(compile=False)
    with pytest.raises(
        ValueError, match="the model is not compiled, so it has no loss"
    ):
        model.evaluate(TEXTS, LABELS, verbose=0)


@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=80),
    batch_size=st.integers(1, 9),
    most=st.integers(0, 300),
)
def test_sorted_batches_fill_up_and_hold_every_row_once(lengths, batch_size, most):
    lengths = np.sort(lengths)[::-1]
    starts = fill_batches(lengths, batch_size, most)
    assert starts[0] == 0 and starts[-1] == len(lengths)
    for start, stop in itertools.pairwise(starts):
        num_tokens = lengths[start:stop].sum()
        assert stop > start
        assert stop - start <= batch_size or num_tokens <= min(most, 2048)
        assert num_tokens <= most or stop - start == 1
        if stop < len(lengths):
            longer = num_tokens + lengths[stop]
            assert stop - start >= batch_size or longer > most
            assert longer > min(most, 2048)
