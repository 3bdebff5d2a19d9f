"""Keras's own callbacks work on a model of texts, each as Keras documents it."""

import csv
import warnings

import keras
import numpy as np
import pytest
import tiny
from torch.utils.data import DataLoader

import kbert

TEXTS, LABELS = tiny.write_texts(32, seed=21)
VALIDATION = tiny.write_texts(12, seed=22)
NUM_STEPS = 4  # an epoch, of 8 texts


def fit(model, callbacks, epochs=3, **changes):
    arguments = {"x": TEXTS, "y": LABELS, "batch_size": 8, "verbose": 0} | changes
    return model.fit(
        **arguments, epochs=epochs, callbacks=callbacks, validation_data=VALIDATION
    ).history


class KeepWeights(keras.callbacks.Callback):
    """Keep the weights that every epoch ends with."""

    def __init__(self):
        super().__init__()
        self.epochs = []

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append(tiny.read_weights(self.model))


def test_early_stopping_stops_and_restores_the_best_weights():
    keep = KeepWeights()
    stop = keras.callbacks.EarlyStopping(
        monitor="val_loss", patience=2, restore_best_weights=True, mode="max"
    )
    model = tiny.build_model(dropout=0.0, optimizer=kbert.adamw(5e-3))
    history = fit(model, [keep, stop], epochs=20)
    best = int(np.argmax(history["val_loss"]))
    assert len(history["val_loss"]) == best + 3 < 20
    tiny.assert_same_weights(model, keep.epochs[best])


@pytest.mark.parametrize("single", [True, False])
def test_callbacks_come_as_one_as_several_or_as_a_list_of_keras(single):
    calls = []
    callback = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: calls.append(epoch)
    )
    model = tiny.build_model()
    given = callback
    if not single:
        given = keras.callbacks.CallbackList([callback], add_history=True, model=model)
    fit(model, given, epochs=2)
    assert calls == [0, 1]


def test_model_checkpoint_keeps_the_best_model_whole(tmp_path):
    keep = KeepWeights()
    checkpoint = keras.callbacks.ModelCheckpoint(
        tmp_path / "best.keras", monitor="val_loss", save_best_only=True
    )
    model = tiny.build_model()
    history = fit(model, [keep, checkpoint])
    best = int(np.argmin(history["val_loss"]))
    loaded = kbert.load_model(tmp_path / "best.keras")
    tiny.assert_same_weights(loaded, keep.epochs[best])
    model.set_weights(keep.epochs[best])
    np.testing.assert_array_equal(loaded.predict(TEXTS), model.predict(TEXTS))
    assert [file.name for file in tmp_path.iterdir()] == ["best.keras"]


def test_model_checkpoint_writes_weights_alone(tmp_path):
    path = tmp_path / "{epoch:02d}.weights.h5"
    checkpoint = keras.callbacks.ModelCheckpoint(path, save_weights_only=True)
    model = tiny.build_model()
    fit(model, checkpoint, epochs=2)
    names = sorted(file.name for file in tmp_path.iterdir())
    assert names == ["01.weights.h5", "02.weights.h5"]
    other = tiny.build_model(seed=9)
    other.load_weights(tmp_path / "02.weights.h5")
    np.testing.assert_array_equal(other.predict(TEXTS), model.predict(TEXTS))


def test_csv_logger_writes_a_row_an_epoch(tmp_path):
    history = fit(tiny.build_model(), keras.callbacks.CSVLogger(tmp_path / "log.csv"))
    with open(tmp_path / "log.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [0, 1, 2]
    for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
        assert [float(row[name]) for row in rows] == pytest.approx(history[name])


def test_tensorboard_writes_events(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorFlow's own, on import
        pytest.importorskip("tensorflow.summary")
        board = keras.callbacks.TensorBoard(tmp_path, update_freq="epoch")
        fit(tiny.build_model(), board)
    for part, name in (("train", b"epoch_loss"), ("validation", b"epoch_accuracy")):
        (events,) = (tmp_path / part).glob("events.out.tfevents.*")
        assert events.read_bytes().count(name) == 3


def test_reduce_lr_on_plateau_lowers_the_rate():
    reduce = keras.callbacks.ReduceLROnPlateau(
        monitor="val_loss", factor=0.5, patience=1, min_delta=100.0
    )
    model = tiny.build_model(optimizer=kbert.adamw(1e-3))
    history = fit(model, reduce, epochs=4)
    expected = [1e-3, 1e-3, 0.5e-3, 0.25e-3]
    assert history["learning_rate"] == pytest.approx(expected)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.125e-3)


def test_learning_rate_scheduler_sets_the_rate_that_is_used():
    schedule = keras.callbacks.LearningRateScheduler(
        lambda epoch, rate: 0.0 if epoch == 1 else 1e-2
    )
    keep = KeepWeights()
    model = tiny.build_model(optimizer=kbert.adamw(1e-3))
    history = fit(model, [schedule, keep])
    assert history["learning_rate"] == pytest.approx([1e-2, 0.0, 1e-2])
    trained = [i for i, w in enumerate(model.weights) if w.trainable]
    first, second, third = ([epoch[i] for i in trained] for epoch in keep.epochs)
    tiny.assert_same_weights(first, second)
    assert tiny.largest_difference(second, third) > 1e-3


# === Resuming ===


class KillAt(keras.callbacks.Callback):
    """Stop the run in the middle of an epoch, as a pre-empted machine would."""

    def __init__(self, epoch: int, batch: int):
        super().__init__()
        self.at, self.epoch = (epoch, batch), 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == self.at:
            raise KeyboardInterrupt


def build_for_resuming():
    optimizer = kbert.adamw(
        1e-2, schedule="linear", warmup=0.1, epochs=4, examples=32, batch_size=8
    )
    return tiny.build_model(seed=13, optimizer=optimizer)


class TextBatches(keras.utils.PyDataset):
    """Four batches of texts."""

    def __len__(self):
        return NUM_STEPS

    def __getitem__(self, index):
        rows = slice(index * 8, index * 8 + 8)
        return TEXTS[rows], LABELS[rows]


DATA = {
    "texts": lambda: {"x": TEXTS, "y": LABELS, "batch_size": 8},
    "arrays": lambda: {
        "x": tiny.build_model(compile=False).preprocessor(TEXTS),
        "y": LABELS,
        "batch_size": 8,
    },
    "PyDataset": lambda: {"x": TextBatches(), "batch_size": None},
    "DataLoader": lambda: {
        "x": DataLoader(list(zip(TEXTS, LABELS, strict=True)), 8, shuffle=True),
        "batch_size": None,
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", DATA)
def test_a_run_killed_and_resumed_ends_in_the_same_weights(kind, tmp_path):
    def train(callbacks):
        data = DATA[kind]()
        model = build_for_resuming()
        model.fit(**data, epochs=4, verbose=0, callbacks=callbacks)
        return model

    whole = train([])
    backup = tmp_path / "backup"
    with pytest.raises(KeyboardInterrupt):
        train([keras.callbacks.BackupAndRestore(backup), KillAt(1, 2)])
    seen = KeepWeights()
    resumed = train([keras.callbacks.BackupAndRestore(backup), seen])
    assert len(seen.epochs) == 3  # the 2nd, from its start, to the 4th
    tiny.assert_same_weights(resumed, whole)
    assert int(resumed.optimizer.iterations) == 4 * NUM_STEPS
    assert not backup.exists()


# === The rest ===


def test_terminate_on_nan_stops_and_leaves_sound_weights():
    texts, labels = tiny.write_texts(32, seed=21)
    model = tiny.build_model(optimizer=keras.optimizers.SGD(1e38))
    steps = []
    watch = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: steps.append(float(logs["loss"]))
    )
    with np.errstate(all="ignore"):
        history = fit(
            model, [watch, keras.callbacks.TerminateOnNaN()], x=texts, y=labels
        )
    assert len(steps) < NUM_STEPS and not np.isfinite(steps[-1])
    assert len(history["loss"]) == 1


def test_without_terminate_on_nan_the_run_ends_in_one_sentence():
    model = tiny.build_model(optimizer=keras.optimizers.SGD(1e38))
    with pytest.raises(RuntimeError, match="the loss is nan at step 1, from rows"):
        fit(model, [])


def test_lambda_callback_sees_every_moment_and_its_logs():
    seen = []

    def note(name):
        if "batch" in name or "epoch" in name:  # Keras names the logs
            return lambda index, logs=None: seen.append((name, (index, logs)))
        return lambda logs=None: seen.append((name, (logs,)))

    names = (
        "on_train_begin",
        "on_epoch_begin",
        "on_train_batch_begin",
        "on_train_batch_end",
        "on_epoch_end",
        "on_train_end",
    )
    callback = keras.callbacks.LambdaCallback(**{name: note(name) for name in names})
    history = fit(tiny.build_model(), callback, epochs=2)
    epoch = [names[1], *[names[2], names[3]] * NUM_STEPS, names[4]]
    assert [name for name, _ in seen] == [names[0], *epoch * 2, names[5]]
    logs = [arguments[1] for name, arguments in seen if name == "on_epoch_end"]
    assert [log["val_loss"] for log in logs] == history["val_loss"]
    assert set(logs[0]) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    batch_logs = [a[1] for name, a in seen if name == "on_train_batch_end"]
    assert all(set(log) == {"loss", "accuracy"} for log in batch_logs)


def test_an_own_callback_finds_the_model_and_its_parameters():
    found = {}

    class Look(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            found.update(self.params, model=self.model)

    model = tiny.build_model()
    fit(model, Look(), epochs=2)
    assert found["epochs"] == 2 and found["steps"] == NUM_STEPS
    assert found["model"] is model


def test_the_progress_bar_of_keras_runs(capsys):
    fit(tiny.build_model(), None, epochs=1, verbose=2)
    assert "4/4" in capsys.readouterr().out
