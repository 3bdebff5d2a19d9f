"""A killed training goes on from its last epoch as if nobody had killed it."""

import json

import keras
import pytest
import tiny
from test_recipe_running import Killed, build_experiment, make_quick

import kbert
from kbert.callbacks import Backup, Progress
from kbert.recipes import running
from kbert.recipes.flags import Flags

TEXTS, LABELS = tiny.write_texts(32, seed=31)
VALIDATION = tiny.write_texts(12, seed=32)


class KillIn(keras.callbacks.Callback):
    """Kill the process in an epoch, counted from 0."""

    def __init__(self, epoch: int | None):
        super().__init__()
        self.epoch, self.epochs = epoch, []

    def on_epoch_begin(self, epoch, logs=None):
        self.epochs.append(epoch)
        if epoch == self.epoch:
            raise Killed

    def on_train_end(self, logs=None):
        if self.epoch == "end":
            raise Killed


def train(folder, kill_in, *, epochs=6, patience=2):
    """Train with early stopping, on a loss that is to rise: it stops soon."""
    stop = keras.callbacks.EarlyStopping(
        "val_loss", mode="max", patience=patience, restore_best_weights=True
    )
    progress, kill = Progress(len(TEXTS)), KillIn(kill_in)
    kept = {}
    backup = Backup(
        folder,
        [progress, stop],
        keep=lambda: {"mark": 7},
        restore=kept.update,
        seconds=0,
    )
    model = tiny.build_model(seed=5, optimizer=kbert.adamw(5e-3))
    history = []
    try:
        model.fit(
            TEXTS,
            LABELS,
            batch_size=8,
            epochs=epochs,
            verbose=0,
            callbacks=[kill, progress, stop, backup],
            validation_data=VALIDATION,
        )
    except Killed:
        pass
    history = [epoch["val_loss"] for epoch in progress.epochs]
    return model, history, kill.epochs, kept, stop


@pytest.mark.slow
@pytest.mark.parametrize("kill_in", [1, 2])
def test_early_stopping_goes_on_counting_and_keeps_its_best_epoch(kill_in, tmp_path):
    whole, history, *_, stop = train(tmp_path / "whole", None)
    assert len(history) < 6  # it did stop
    train(tmp_path / "killed", kill_in)
    model, resumed, epochs, kept, again = train(tmp_path / "killed", None)
    assert epochs[0] == kill_in and kept == {"mark": 7}
    assert resumed == pytest.approx(history, rel=1e-6)
    assert again.best_epoch == stop.best_epoch
    tiny.assert_same_weights(model, whole)


def test_a_training_killed_after_its_end_is_not_repeated(tmp_path):
    whole, history, *_ = train(tmp_path / "backup", None)
    model, resumed, epochs, *_ = train(tmp_path / "backup", None)
    assert not epochs and resumed == history
    tiny.assert_same_weights(model, whole)
    assert {path.name.split(".")[0] for path in (tmp_path / "backup").iterdir()} == {
        "state",
        f"epoch-{len(history)}-end",
    }


def test_a_short_training_writes_nothing(tmp_path):
    backup = Backup(tmp_path / "backup", seconds=60)
    model = tiny.build_model()
    model.fit(TEXTS, LABELS, batch_size=8, epochs=2, verbose=0, callbacks=[backup])
    assert not (tmp_path / "backup").exists()
    assert Backup.read(tmp_path / "backup") is None


def test_what_was_kept_can_be_read_and_removed(tmp_path):
    train(tmp_path / "backup", 2)
    assert Backup.read(tmp_path / "backup") == {"mark": 7}
    Backup(tmp_path / "backup").remove()
    assert Backup.read(tmp_path / "backup") is None


# === In recipes ===


class Trainer:
    """Trains three epochs as a recipe does, and is killed where it is told."""

    def __init__(self, kill_in):
        self.kill, self.model = KillIn(kill_in), None

    def __call__(self, trial):
        kbert.set_seed(trial.seed)
        model = kbert.build_classifier(
            trial.preset, trial.label_names, max_length=16, precision="float32"
        )
        model.compile(kbert.adamw(1e-2), "sparse_categorical_crossentropy")
        note = trial.note_loss(1)
        callbacks = trial.resumable(trial.progress, note)
        callbacks[-1]._seconds = 0
        model.fit(
            trial.train,
            epochs=3,
            batch_size=8,
            callbacks=[self.kill, *callbacks],
            verbose=0,
        )
        self.model = model
        return model


@pytest.mark.parametrize("seeds", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_recipe_takes_up_a_trial_in_the_middle(seeds, tmp_path, monkeypatch, capsys):
    make_quick(monkeypatch)

    def run(place, kill_in):
        trainer = Trainer(kill_in)
        flags = Flags(out=tmp_path / place, seeds=seeds)
        try:
            running.run_experiment(build_experiment(trainer), flags, ["first"])
        except Killed:
            pass
        return trainer

    whole = run("whole", None)
    run("killed", 2)
    assert "Resumed" not in capsys.readouterr().out
    resumed = run("killed", None)
    assert "Resumed" in capsys.readouterr().out
    assert resumed.kill.epochs[0] == 2
    tiny.assert_same_weights(resumed.model, whole.model)
    places = [tmp_path / name for name in ("whole", "killed")]
    one, other = (read_first_record(place) for place in places)
    assert other["history"] and len(other["history"]) == len(one["history"]) == 3
    assert other["figures"]["loss at step 1"] == one["figures"]["loss at step 1"]
    assert not list(places[1].rglob("backup"))


def test_another_run_does_not_go_on_from_it(tmp_path, monkeypatch):
    make_quick(monkeypatch)
    flags = Flags(out=tmp_path / "out")
    with pytest.raises(Killed):
        running.run_experiment(build_experiment(Trainer(2)), flags, ["first"])
    other = Flags(out=tmp_path / "out", batch_size=4)
    with pytest.raises(FileExistsError, match="out"):
        running.run_experiment(build_experiment(Trainer(None)), other, ["first"])


def read_first_record(place):
    return json.loads(sorted(place.rglob("record.json"))[0].read_text("utf-8"))
