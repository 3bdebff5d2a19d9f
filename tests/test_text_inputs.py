"""Text pairs in every shape, and what is none: one sentence each."""

import datasets
import keras
import numpy as np
import pandas as pd
import pytest
import tiny
from torch.utils.data import DataLoader

import kbert

TEXTS, LABELS = tiny.write_texts(8, seed=1)
PAIRS, _ = tiny.write_texts(8, seed=2)
ZIPPED = list(zip(TEXTS, PAIRS, strict=True))


@pytest.fixture(scope="module")
def model():
    return tiny.build_model()


class Batches(keras.utils.PyDataset):
    """Two batches of four, as `select` gives them."""

    def __init__(self, select):
        super().__init__()
        self.select = select

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return self.select(slice(4 * index, 4 * index + 4))


def make_loader(batch_size, collate=None):
    rows = list(zip(ZIPPED, LABELS, strict=True))
    return DataLoader(rows, batch_size=batch_size, collate_fn=collate)


def list_rows(batch):
    """Collate as people do by hand: a list of pairs, and their labels."""
    pairs, labels = zip(*batch, strict=True)
    return list(pairs), np.array(labels)


def make_dataset():
    columns = {"text": TEXTS, "text_pair": PAIRS, "label": LABELS.tolist()}
    return datasets.Dataset.from_dict(columns)


PAIRED = {
    "columns": lambda: ((TEXTS, PAIRS), LABELS),
    "arrays": lambda: ((np.array(TEXTS), np.array(PAIRS)), LABELS),
    "frame": lambda: (pd.DataFrame({"a": TEXTS, "b": PAIRS}), LABELS),
    "PyDataset of columns": lambda: (
        Batches(lambda rows: ((TEXTS[rows], PAIRS[rows]), LABELS[rows])),
    ),
    "PyDataset of pairs": lambda: (Batches(lambda rows: (ZIPPED[rows], LABELS[rows])),),
    "DataLoader": lambda: (make_loader(4),),
    "DataLoader of two": lambda: (make_loader(2),),
    "DataLoader of listed pairs, the last two": lambda: (make_loader(3, list_rows),),
    "Dataset": lambda: (make_dataset(),),
}


@pytest.mark.parametrize("kind", PAIRED)
def test_second_texts_count_however_they_come(model, kind):
    expected = model.evaluate(ZIPPED, LABELS, verbose=0)
    alone = model.evaluate(TEXTS, LABELS, verbose=0)
    assert abs(expected[0] - alone[0]) > 1e-4, "the second texts make no difference"
    found = model.evaluate(*PAIRED[kind](), verbose=0)
    assert found == pytest.approx(expected, abs=1e-6)


def test_two_columns_are_predicted_as_pairs(model):
    found = model.predict((TEXTS, PAIRS))
    np.testing.assert_array_equal(found, model.predict(ZIPPED))


def test_rounding_is_told_of_pairs_and_not_of_their_first_texts(model, caplog):
    for x in (ZIPPED, (TEXTS, PAIRS)):
        model.predict(x, quantize="int8")
    one, other = (m for m in caplog.messages if m.startswith("in int8"))
    assert one == other


def test_a_frame_of_one_column_is_texts(model):
    found = model.predict(pd.DataFrame({"a": TEXTS}))
    np.testing.assert_array_equal(found, model.predict(TEXTS))


@pytest.mark.parametrize(
    "columns",
    [[TEXTS, PAIRS], pd.DataFrame({"a": TEXTS, "b": PAIRS, "c": TEXTS})],
    ids=["list of columns", "three columns"],
)
def test_columns_that_are_no_pairs_are_refused(model, columns):
    with pytest.raises(ValueError, match=r"row 0 has.*\(list\).*a tuple, \(texts"):
        model.predict(columns)


def test_columns_of_unequal_length_are_refused(model):
    with pytest.raises(ValueError, match="equally long; received 8 and 7"):
        model.evaluate((TEXTS, PAIRS[:7]), LABELS, verbose=0)


def test_two_tuples_of_two_are_refused(model):
    with pytest.raises(ValueError, match="pass a list of pairs"):
        model.predict((("a", "b"), ("c", "d")))


@pytest.mark.parametrize("row", [0, 5])
@pytest.mark.parametrize("missing", [None, float("nan"), 3])
def test_a_row_without_text_is_named(model, row, missing):
    texts = list(TEXTS)
    texts[row] = missing
    with pytest.raises(ValueError, match=f"each text must be a str; row {row} has"):
        model.fit(texts, LABELS, verbose=0)


@pytest.mark.parametrize("wrap", [list, pd.Series])
def test_nothing_but_missing_texts_is_named(model, wrap):
    with pytest.raises(ValueError, match="row 0 has 'None'"):
        model.predict(wrap([None, None]))


def test_a_missing_text_of_a_dataset_is_named_by_its_own_row(model):
    columns = {"text": [*TEXTS[:7], None], "label": LABELS.tolist()}
    with pytest.raises(ValueError, match="row 7 has 'None'"):
        model.fit(datasets.Dataset.from_dict(columns), verbose=0)


def test_a_missing_text_of_a_stream_is_named_by_its_own_row(model, monkeypatch):
    monkeypatch.setattr("kbert.text_model._WINDOW_ROWS", 3)
    with pytest.raises(ValueError, match="row 7 has 'None'"):
        model.predict(iter([*TEXTS[:7], None]))


class NoBatches(keras.utils.PyDataset):
    def __len__(self):
        return 0


@pytest.mark.parametrize("call", ["fit", "evaluate", "predict"])
@pytest.mark.parametrize("empty", [NoBatches(), DataLoader([], 4)])
def test_a_loader_without_batches_is_one_sentence(model, call, empty):
    with pytest.raises(ValueError, match="the (NoBatches|DataLoader) gives no batch"):
        getattr(model, call)(empty, verbose=0)


def test_a_text_among_pairs_is_named(model):
    with pytest.raises(ValueError, match="must be a pair of str; row 1 has 'c'"):
        model.predict([("a", "b"), "c"])


@pytest.mark.parametrize("make", [list, tuple])
def test_validation_data_may_be_a_list_of_two(make):
    model = tiny.build_model(optimizer=keras.optimizers.SGD(0.0))
    losses = []
    for texts in (TEXTS, model.preprocessor(TEXTS)):
        data = make([texts, LABELS])
        fitted = model.fit(TEXTS, LABELS, validation_data=data, verbose=0)
        losses += fitted.history["val_loss"]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


@pytest.mark.parametrize("convert", [np.array, list])
def test_class_weights_leave_the_validation_loss_alone(convert):
    losses = []
    names = [("negative", "positive")[label] for label in LABELS]
    for weights in (None, {0: 1.0, 1: 10.0}):
        model = tiny.build_model(optimizer=keras.optimizers.SGD(0.0))
        options = {"validation_split": 0.5, "class_weight": weights, "verbose": 0}
        fitted = model.fit(model.preprocessor(TEXTS), convert(names), **options)
        losses.append(fitted.history["val_loss"][0])
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)


def test_a_label_out_of_range_with_class_weights_is_named(model):
    wrong = LABELS.copy()
    wrong[3] = 7
    arrays = model.preprocessor(TEXTS)
    weights = {0: 1.0, 1: 2.0}
    for x, y in ((arrays, wrong), (TEXTS, wrong[:, None])):
        with pytest.raises(ValueError, match="row 3 has 7"):
            model.fit(x, y, class_weight=weights, verbose=0)
    loader = DataLoader(list(zip(TEXTS, wrong, strict=True)), 3)
    with pytest.raises(ValueError, match="in a batch of the loader.*row 0 has 7"):
        model.fit(loader, class_weight=weights, verbose=0)


@pytest.mark.parametrize("size", [0, -1, 2.5])
def test_batch_sizes_below_one_are_refused(model, size):
    for x in (TEXTS, model.preprocessor(TEXTS)):
        for options in ({"batch_size": size}, {"validation_batch_size": size}):
            if "batch_size" not in options and x is not TEXTS:
                continue  # Keras's own validation
            options |= {"validation_data": (TEXTS, LABELS), "verbose": 0}
            with pytest.raises(ValueError, match="batch_size must be a whole number"):
                model.fit(x, LABELS, **options)
        with pytest.raises(ValueError, match="batch_size must be a whole number"):
            model.predict(x, batch_size=size)


def test_a_validation_split_must_leave_rows_to_train_on(model):
    with pytest.raises(ValueError, match="leaves no row to train on"):
        model.fit(TEXTS, LABELS, validation_split=1.0, verbose=0)


@pytest.mark.parametrize(
    "build",
    [
        kbert.adamw,
        keras.optimizers.RMSprop,
        lambda: keras.optimizers.LossScaleOptimizer(kbert.adamw()),
    ],
    ids=["fused", "Keras's own", "scaled loss"],
)
def test_unfreezing_without_compiling_says_so(build):
    model = tiny.build_model(compile=False)
    kbert.freeze(model)
    model.compile(build(), "sparse_categorical_crossentropy")
    model.fit(TEXTS, LABELS, verbose=0)
    kbert.unfreeze(model)
    with pytest.raises(ValueError, match="compile again after kbert.unfreeze"):
        model.fit(TEXTS, LABELS, verbose=0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"global_clipnorm": 0},
        {"global_clipnorm": -1},
        {"beta_1": 1.5},
        {"beta_2": 1.0},
        {"layer_decay": 2},
        {"layer_decay": 0},
        {"head_learning_rate": 0},
        {"epsilon": -1e-8},
        {"weight_decay": float("nan")},
    ],
)
def test_adamw_refuses_values_out_of_range(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f"{name} must"):
        kbert.adamw(**wrong)


def test_numbers_of_another_kind_are_refused(model):
    with pytest.raises(ValueError, match=r"received 1\.5"):
        kbert.freeze(model, 1.5)
    with pytest.raises(ValueError, match="seed must be a whole number"):
        kbert.set_seed("a")
