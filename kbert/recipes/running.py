"""Run the trials of an experiment one after another, and take up where one stopped."""

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kbert import presets, report
from kbert.devices import use_device
from kbert.recipes import cards, comparison, console
from kbert.recipes.experiment import Experiment
from kbert.recipes.flags import Flags
from kbert.recipes.trial import Trial
from kbert.report.interruption import keep_if_interrupted
from kbert.report.plain import to_plain

if TYPE_CHECKING:
    from kbert.models import Model

# Where these differ, a run is still the same run.
_NOT_COMPARED = ("out", "card")


@dataclass(frozen=True)
class Plan:
    """What is to be run.

    Args:
        experiment: what is reproduced.
        flags: what the user asked for.
        options: the recipe's own flags, a dataclass.
        names: of the variants, in order, those included that others start from.
    """

    experiment: Experiment
    flags: Flags
    options: Any
    names: Sequence[str]

    @property
    def seeds(self) -> range:
        """The seeds of each variant's runs."""
        return range(self.flags.seed, self.flags.seed + self.flags.seeds)

    @property
    def num_trials(self) -> int:
        """Trainings in all."""
        return len(self.names) * len(self.seeds)

    def to_json(self) -> dict[str, Any]:
        """Return what tells one run from another, as JSON values."""
        options = {} if self.options is None else vars(self.options)
        settings = {**vars(self.flags), **options}
        kept = {k: v for k, v in settings.items() if k not in _NOT_COMPARED}
        return to_plain(
            {"recipe": self.experiment.name, **kept, "variants": self.names}
        )


def run_experiment(
    experiment: Experiment,
    flags: Flags,
    names: Sequence[str] | None = None,
    options: Any = None,
) -> Path:
    """Train every variant with every seed, measure, and write the run folder.

    Args:
        experiment: what is reproduced.
        flags: what the user asked for.
        names: variants to train; `None`: all.
        options: the recipe's own flags, a dataclass; `None` where it has none.

    Returns:
        Path of the run folder: the trial's own where there is one, else one that holds
        a folder for each trial and a report on all. Given as `--out` again, such a
        folder is completed: trials that are done are not repeated.

    Raises:
        ValueError: the data or a setting cannot be used.
        OSError: a file cannot be read or written.
        KeyboardInterrupt: with a sentence on what was kept.
    """
    started = time.perf_counter()
    chosen = _with_starts(experiment, flags, names or tuple(experiment.variants))
    asked = Plan(experiment, flags, options, chosen)
    is_resumed = _is_begun(flags.out, asked)
    if not is_resumed:
        report.RunFolder.check(flags.out)
    material = experiment.load(flags)
    found = _resolve_presets(asked)
    plan = replace(asked, names=[name for name in chosen if name in found])
    if flags.card:
        cards.require_named([n for n in (material.notice, *_notices(found)) if n])

    def build_trial(name: str, seed: int, folder: report.RunFolder) -> Trial:
        preset, notice = found[name]
        return Trial(
            experiment=experiment,
            name=name,
            flags=flags,
            options=options,
            material=material,
            preset=preset,
            seed=seed,
            folder=folder,
            plan=asked.to_json(),
            notices=[line for line in (notice, material.notice) if line],
            started=started if plan.num_trials == 1 else time.perf_counter(),
        )

    with use_device(flags.device):
        if plan.num_trials == 1:
            folder = _open_one(flags.out, asked, is_resumed)
            trial = build_trial(plan.names[0], flags.seed, folder)
            records = [run_trial(trial)]
            console.summarise(trial, records[0])
        else:
            folder = _open(flags.out, asked, is_resumed)
            records = _run_trials(plan, asked, folder, build_trial)
            comparison.write(folder, experiment, records)
            console.summarise_all(experiment, folder, records)
    if flags.card:
        cards.add(records)
    return folder.path


def run_trial(trial: Trial, *, keep_model: bool = True) -> dict[str, Any]:
    """Train, measure and report one variant with one seed.

    Args:
        trial: what to train.
        keep_model: whether `model.keras` is written.

    Returns:
        The record, which `record.json` in the trial's folder holds.
    """
    from kbert.recipes import outcome

    with _keep_if_interrupted(trial):
        console.announce(trial)
        model = trial.experiment.train(trial)
        if keep_model:
            trial.folder.save_model(model)
        record = outcome.write_outcome(trial, model)
        trial.folder.write_json("record.json", record)
    shutil.rmtree(trial.backup_folder, ignore_errors=True)
    return record


def _keep_if_interrupted(trial: Trial) -> AbstractContextManager[None]:
    def save() -> None:
        trial.folder.save_model(trial.progress.model)
        trial.folder.write_csv("history.csv", trial.progress.epochs)
        trial.folder.write_json("config.json", trial.to_json(trial.progress.model))

    def describe_resuming() -> str:
        if not trial.backup_folder.exists():
            return ""
        return f" With --out {trial.folder.path} the same command goes on from there."

    return keep_if_interrupted(trial.folder, trial.progress, save, describe_resuming)


def _with_starts(
    experiment: Experiment, flags: Flags, names: Sequence[str]
) -> list[str]:
    """Put the variants that others start from before them."""
    ordered: list[str] = []
    for name in names:
        chain = [name]
        while (start := find_start(experiment, flags, chain[0])) is not None:
            chain.insert(0, start)
        ordered += [one for one in chain if one not in ordered]
    return ordered


def find_start(experiment: Experiment, flags: Flags, name: str) -> str | None:
    """Find the variant whose trained model a variant goes on training.

    Args:
        experiment: what is reproduced.
        flags: what the user asked for.
        name: of the variant.

    Returns:
        Name of the other variant, or `None`.
    """
    variant = experiment.variants[name]
    if variant.starts_from_is_defect and not flags.as_documented:
        return None
    return variant.starts_from


def _resolve_presets(plan: Plan) -> dict[str, tuple[presets.Preset, str | None]]:
    """Find each variant's encoder; leave out variants that only repeat another's."""
    found: dict[str, tuple[presets.Preset, str | None]] = {}
    by_name: dict[str, tuple[presets.Preset, str | None]] = {}
    explicit = plan.flags.preset
    for name in plan.names:
        own = plan.experiment.variants[name].preset
        documented = own or plan.experiment.preset
        if documented not in by_name:
            by_name[documented] = presets.resolve_preset(explicit, documented)
        preset, notice = by_name[documented]
        if own and (explicit or notice) and len(plan.names) > 1:
            print(
                f"Left out  {name}: it differs from the others by its encoder "
                f"({own}), and {preset.name} is used for all"
            )
            continue
        found[name] = preset, notice
    return found


def _notices(found: Mapping[str, tuple[presets.Preset, str | None]]) -> list:
    return [notice for _, notice in found.values()]


def _is_begun(out: Path | None, plan: Plan) -> bool:
    """Whether a folder holds this very run, begun before."""
    if out is None:
        return False
    if plan.num_trials == 1:
        return _is_kept(out, plan)
    try:
        found = json.loads((out / "plan.json").read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return found == plan.to_json()


def _is_kept(place: Path, plan: Plan) -> bool:
    """Whether a folder holds an epoch from which a trial of this run goes on."""
    from kbert.callbacks import Backup

    try:
        kept = Backup.read(place / "backup")
    except (OSError, ValueError):
        return False
    return kept is not None and kept["plan"] == plan.to_json()


def _open_one(out: Path | None, plan: Plan, is_resumed: bool) -> report.RunFolder:
    if is_resumed and out is not None:
        print(f"Resumed   from the last epoch that {out} holds")
        return report.RunFolder(out)
    return report.RunFolder.create(out, recipe=plan.experiment.name)


def _open(out: Path | None, plan: Plan, is_resumed: bool) -> report.RunFolder:
    if is_resumed and out is not None:
        return report.RunFolder(out)
    folder = report.RunFolder.create(out, recipe=plan.experiment.name)
    folder.write_json("plan.json", plan.to_json())
    return folder


def _run_trials(
    plan: Plan,
    asked: Plan,
    folder: report.RunFolder,
    build_trial: Callable[[str, int, report.RunFolder], Trial],
) -> list[dict]:
    experiment, flags = plan.experiment, plan.flags
    starts = {find_start(experiment, flags, name) for name in plan.names}
    records: list[dict] = []
    for seed in plan.seeds:
        for name in plan.names:
            place = folder.path / comparison.name_folder(name, seed)
            record = _read_record(place)
            if record is None:
                console.number(len(records) + 1, plan.num_trials, name, seed)
                is_kept = _is_kept(place, asked)
                own = _open_one(place if is_kept else _make_room(place), asked, is_kept)
                trial = build_trial(name, seed, own)
                start = find_start(experiment, flags, name)
                if start is not None:
                    origin = comparison.name_folder(start, seed)
                    trial.previous = _load_model(folder.path / origin)
                record = run_trial(trial, keep_model=name in starts)
            records.append(record)
    return records


def _read_record(place: Path) -> dict | None:
    try:
        return json.loads((place / "record.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None


def _make_room(place: Path) -> Path:
    """Put what an interrupted trial left aside; nothing of it is lost."""
    number = 1
    while place.exists():
        aside = place.with_name(f"{place.name}-interrupted-{number}")
        if not aside.exists():
            place.rename(aside)
        number += 1
    return place


def _load_model(place: Path) -> "Model":
    import kbert

    return kbert.load_model(place / "model.keras", compile=False)
