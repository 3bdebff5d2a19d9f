"""Several trials in one run: seeds, chains, taking up what stopped, comparison."""

import dataclasses
import json
import statistics
from types import SimpleNamespace

import numpy as np
import pytest
from tiny import assert_same_weights, build_preset, read_weights, write_texts

import kbert
from kbert.recipes import comparison, console, outcome, running
from kbert.recipes.experiment import Claim, Experiment, Material, Settings, Variant
from kbert.recipes.flags import Flags

SETTINGS = Settings(epochs=1, batch_size=8, learning_rate=1e-2, max_length=16)


class Killed(BaseException):
    """What no code expects, as when the process is killed."""


class Trainer:
    """Trains as a recipe does, notes what it trained, and stops where it is told."""

    def __init__(self, stop_at: int | None = None, error: BaseException | None = None):
        self.stop_at, self.error = stop_at, error
        self.trained: list[tuple[str, int]] = []
        self.starts: dict[tuple[str, int], list | None] = {}

    def __call__(self, trial):
        if len(self.trained) == self.stop_at:
            raise self.error
        kbert.set_seed(trial.seed)
        model, key = trial.previous, (trial.name, trial.seed)
        self.starts[key] = None if model is None else read_weights(model)
        if model is None:
            model = kbert.build_classifier(
                trial.preset, trial.label_names, max_length=16, precision="float32"
            )
        model.compile(kbert.adamw(1e-2), "sparse_categorical_crossentropy")
        model.fit(
            trial.train,
            validation_data=trial.validation,
            epochs=trial.settings.epochs,
            batch_size=8,
            callbacks=[trial.progress],
            verbose=0,
        )
        self.trained.append(key)
        return model


def load_toy(flags: Flags) -> Material:
    splits = kbert.load_splits(write_texts(40), validation=0.5, seed=flags.seed)
    return Material(splits=splits, words="forty texts")


def build_experiment(train, **changes) -> Experiment:
    claims = [Claim("accuracy", 0.9, "accuracy")]
    return Experiment(
        name="toy",
        title="Toy",
        question="Does it work?",
        source="a test",
        file="none.txt",
        preset="tiny",
        variants={
            "first": Variant(settings=SETTINGS, claims=claims),
            "second": Variant(
                settings=SETTINGS, starts_from="first", starts_from_is_defect=True
            ),
        },
        load=load_toy,
        train=train,
        **changes,
    )


def make_quick(patch: pytest.MonkeyPatch) -> None:
    """Take a tiny encoder and write no reports, which draw for most of the time."""
    patch.setattr(running.presets, "resolve_preset", lambda *_: (build_preset(), None))
    patch.setattr(outcome.report, "write_report", lambda *_: None)


@pytest.fixture(autouse=True)
def trials_are_quick(monkeypatch):
    make_quick(monkeypatch)


def read_records(folder):
    paths = sorted(folder.glob("*/record.json"))
    return {p.parent.name: json.loads(p.read_text("utf-8")) for p in paths}


@pytest.fixture(scope="module")
def stopped_run(tmp_path_factory):
    """A run of two seeds: killed in the second trial, interrupted, then finished."""
    place = tmp_path_factory.mktemp("runs") / "out"
    flags = Flags(out=place, seeds=2)
    patch = pytest.MonkeyPatch()
    make_quick(patch)
    steps = []
    for stop_at, error in ((1, Killed()), (0, KeyboardInterrupt()), (None, None)):
        trainer = Trainer(stop_at, error)
        experiment = build_experiment(trainer)
        if error is None:
            running.run_experiment(experiment, flags, ["first"])
        else:
            with pytest.raises(type(error)):
                running.run_experiment(experiment, flags, ["first"])
        steps.append(SimpleNamespace(trained=trainer.trained, files=list_files(place)))
    patch.undo()
    return place, flags, steps


def list_files(place):
    return {
        str(p.relative_to(place)): p.stat().st_mtime_ns
        for p in place.rglob("*")
        if p.is_file()
    }


def test_trials_that_are_done_are_not_repeated(stopped_run):
    _, _, (killed, interrupted, finished) = stopped_run
    assert killed.trained == [("first", 42)]
    assert interrupted.trained == []
    assert finished.trained == [("first", 43)]
    done = [name for name in killed.files if name.startswith("first-seed42/")]
    assert "first-seed42/record.json" in done
    assert all(finished.files[name] == killed.files[name] for name in done)


def test_what_a_killed_trial_left_is_put_aside(stopped_run):
    place, _, _ = stopped_run
    assert set(read_records(place)) == {"first-seed42", "first-seed43"}
    aside = [p.name for p in place.iterdir() if "interrupted" in p.name]
    assert "first-seed43-interrupted-1" in aside


def test_another_run_is_not_mixed_into_the_folder(stopped_run):
    place, flags, _ = stopped_run
    before = list_files(place)
    trainer = Trainer()
    for changed in (
        Flags(out=place, seeds=2, epochs=2),
        Flags(out=place, seeds=3),
        Flags(out=place, seeds=2, limit=30),
    ):
        with pytest.raises(FileExistsError, match="out"):
            running.run_experiment(build_experiment(trainer), changed, ["first"])
    with pytest.raises(FileExistsError):
        running.run_experiment(build_experiment(trainer), flags, ["first", "second"])
    assert not trainer.trained and list_files(place) == before


def test_a_finished_run_is_only_summed_up_again(stopped_run, capsys):
    place, flags, _ = stopped_run
    trainer = Trainer()
    running.run_experiment(build_experiment(trainer), flags, ["first"])
    assert not trainer.trained
    assert f"Report    {place / 'report.html'}" in capsys.readouterr().out


def test_seeds_are_summed_up_by_mean_and_standard_deviation(stopped_run, capsys):
    place, _, _ = stopped_run
    records = list(read_records(place).values())
    losses = [record["figures"]["log_loss"] for record in records]
    assert losses[0] != losses[1]
    experiment = build_experiment(Trainer())
    console.summarise_all(experiment, SimpleNamespace(path=place), records)
    lines = capsys.readouterr().out.splitlines()
    (line,) = [line for line in lines if "log loss" in line]
    mean, deviation = statistics.fmean(losses), statistics.stdev(losses)
    assert line.split()[-4:] == [f"{mean:.3f}", "±", f"{deviation:.3f}", "2"]


def predict_one_class(trial, model, rows):
    """Predict the first class for each row, with the seed 43 alone."""
    found = model.predict(rows)
    found[:] = [0.9, 0.1]
    if trial.seed != 43:
        found[0] = [0.1, 0.9]
    return found.astype(np.float32)


def test_runs_that_predict_one_class_are_counted(tmp_path, capsys):
    experiment = build_experiment(Trainer(), predict=predict_one_class)
    flags = Flags(out=tmp_path / "out", seeds=2)
    running.run_experiment(experiment, flags, ["first"])
    found = {k: r["collapsed"] for k, r in read_records(flags.out).items()}
    assert found == {"first-seed42": False, "first-seed43": True}
    lines = capsys.readouterr().out.splitlines()
    (head,) = [line for line in lines if line.startswith("Variant ")]
    line = lines[lines.index(head) + 1]
    assert head.endswith("One class only") and line.startswith("first ")
    assert line.split()[-2:] == ["2", "1"]
    (row,) = comparison.compare(experiment, list(read_records(flags.out).values()))
    assert row.num_collapsed == 1 and len(row.values("accuracy")) == 2


def test_a_chain_goes_on_from_the_model_before_also_when_taken_up(tmp_path):
    flags = Flags(out=tmp_path / "out", as_documented=True)
    with pytest.raises(Killed):
        running.run_experiment(build_experiment(Trainer(1, Killed())), flags)
    trainer = Trainer()
    running.run_experiment(build_experiment(trainer), flags, ["second"])
    assert trainer.trained == [("second", 42)]
    before = kbert.load_model(flags.out / "first-seed42" / "model.keras", compile=False)
    assert_same_weights(trainer.starts["second", 42], read_weights(before))
    assert not (flags.out / "second-seed42" / "model.keras").exists()


def test_a_chain_that_is_a_defect_is_left_out_unless_asked_for():
    experiment = build_experiment(Trainer())
    assert running.find_start(experiment, Flags(), "second") is None
    documented = Flags(as_documented=True)
    assert running.find_start(experiment, documented, "second") == "first"


def test_a_run_that_left_a_variant_out_is_taken_up_too(tmp_path, capsys):
    """An encoder that the user named is every variant's, so one would be repeated."""
    flags = Flags(out=tmp_path / "out", preset="named", seeds=2)
    trainers = [Trainer(1, Killed()), Trainer()]
    for trainer in trainers:
        experiment = build_experiment(trainer)
        other = Variant(settings=SETTINGS, preset="another")
        variants = {"first": experiment.variants["first"], "other": other}
        experiment = dataclasses.replace(experiment, variants=variants)
        try:
            running.run_experiment(experiment, flags)
        except Killed:
            continue
    trained = [trial for trainer in trainers for trial in trainer.trained]
    assert trained == [("first", 42), ("first", 43)]
    assert "Left out  other" in capsys.readouterr().out
    assert (flags.out / "report.html").is_file()
