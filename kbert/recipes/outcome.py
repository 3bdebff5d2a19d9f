"""What a trial came to: its report, and the small record that cards are made from."""

import shlex
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kbert import evaluation, report
from kbert.presets import count_parameters
from kbert.recipes.flags import Flags
from kbert.recipes.trial import Trial
from kbert.report.plain import to_plain

if TYPE_CHECKING:
    from kbert.models import Model

SCHEMA = 1


def write_outcome(trial: Trial, model: "Model") -> dict[str, Any]:
    """Measure a trained model, write its report, and sum it up.

    Args:
        trial: the trial, trained.
        model: its model.

    Returns:
        The record; `record.json` in the trial's folder holds it.
    """
    probabilities = _predict(trial, model)
    if trial.experiment.finish is not None:
        trial.experiment.finish(trial, model)
    run = _build_run(trial, model, probabilities)
    report.write_report(trial.folder, run)
    record = build_record(trial, run)
    return record


def _predict(trial: Trial, model: "Model") -> np.ndarray:
    started = time.perf_counter()
    rows = trial.measured_rows
    predict = trial.experiment.predict
    found = model.predict(rows) if predict is None else predict(trial, model, rows)
    seconds = time.perf_counter() - started
    trial.extra["measured rows a second"] = len(rows) / seconds
    trial.probabilities = found
    return found


def _build_run(trial: Trial, model: "Model", probabilities: np.ndarray) -> report.Run:
    experiment, material, rows = trial.experiment, trial.material, trial.measured_rows
    names, preprocessor = material.label_names, model.preprocessor
    assert preprocessor is not None and rows.labels is not None
    splits = replace(material.splits, label_names=names, source=material.words)
    parts = trial.labelled_parts.values()
    texts = [text for part in parts for text in part.texts]
    pairs = [text for part in parts for text in part.text_pairs or ()]
    encoded = preprocessor.encode(texts, pairs or None)
    metrics = evaluation.compute_metrics(
        rows.labels, probabilities, names, batch_size=trial.settings.batch_size
    )
    device = _describe_device(model)
    data = report.describe_data(
        splits, encoded.truncation, max_length=preprocessor.max_length
    )
    data["rows"] |= {name: len(part) for name, part in trial.labelled_parts.items()}
    data["sentences"] = [*material.sentences, *data["sentences"]]
    epochs = trial.progress.epochs
    return report.Run(
        recipe=experiment.name,
        title=describe_trial(trial),
        question=experiment.question,
        command=write_command(trial),
        preset={
            "name": trial.preset.name,
            "source": trial.preset.source,
            "num_parameters": count_parameters(trial.preset.config),
        },
        data=data,
        device=device,
        seed=trial.seed,
        config=trial.to_json(model),
        history=epochs,
        metrics=metrics,
        documented=_compare(trial, metrics),
        deviations=[
            *experiment.remarks,
            *trial.find_deviations(device["precision"]),
        ],
        notices=trial.notices,
        seconds={
            "train": sum(epoch["seconds"] for epoch in epochs),
            "total": time.perf_counter() - trial.started,
        },
        label_names=names,
        mistakes=evaluation.find_mistakes(
            rows.labels,
            probabilities,
            rows.texts,
            names,
            text_pairs=rows.text_pairs,
            rows=rows.rows,
        ),
        labels=rows.labels,
        probabilities=probabilities,
        lengths=encoded.full_lengths,
        split=trial.split,
        kept_epoch=trial.find_kept_epoch(),
    )


def describe_trial(trial: Trial) -> str:
    """Return the experiment's title, and the variant's name where there are several."""
    if len(trial.experiment.variants) == 1:
        return trial.experiment.title
    return f"{trial.experiment.title}: {trial.name.replace('_', ' ')}"


def _options(trial: Trial) -> dict[str, Any]:
    return vars(trial.options) if trial.options is not None else {}


def _compare(trial: Trial, metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Put the documented figures beside the measured ones."""
    found = flatten(metrics, trial)
    return [
        {
            "name": claim.name,
            "documented": claim.value,
            "documented_to": claim.to,
            "measured": found.get(claim.key),
            "comparable": trial.is_comparable,
            "note": claim.note if trial.is_comparable else "",
        }
        for claim in trial.variant.claims
    ]


def flatten(metrics: Mapping[str, Any], trial: Trial) -> dict[str, float]:
    """Name every figure of a trial by what claims refer to.

    Args:
        metrics: as `compute_metrics` returns them.
        trial: the trial, trained.

    Returns:
        Metrics by name, `precision.<class>` and the like, `<log>.<epoch>`,
        `train_loss` (mean over all steps), `train_seconds`,
        `train_samples_per_second`, those of the data and `Trial.extra`.
    """
    found = {
        name: row["value"]
        for name, row in metrics.items()
        if isinstance(row, Mapping) and row.get("value") is not None
    }
    for row in metrics["per_class"]:
        for name in ("precision", "recall", "f1"):
            found[f"{name}.{row['label_name']}"] = row[name]
    epochs = trial.progress.epochs
    for epoch in epochs:
        for name in epoch.keys() - {"epoch"}:
            found[f"{name}.{epoch['epoch']}"] = epoch[name]
    found["train_loss"] = float(np.mean([epoch["loss"] for epoch in epochs]))
    found["train_seconds"] = seconds = sum(epoch["seconds"] for epoch in epochs)
    found["train_samples_per_second"] = len(epochs) * len(trial.train) / seconds
    return {**found, **trial.material.figures, **trial.extra}


def build_record(trial: Trial, run: report.Run) -> dict[str, Any]:
    """Sum a trial up, small enough for a repository.

    Args:
        trial: the trial, trained.
        run: its report.

    Returns:
        Plain JSON values; `kbert.recipes.cards` makes cards from them.
    """
    counts = [row["num_predicted"] for row in run.metrics["per_class"]]
    record = {
        "schema": SCHEMA,
        "recipe": trial.experiment.name,
        "variant": trial.name,
        "seed": trial.seed,
        "split_seed": trial.flags.seed,
        "as_documented": trial.flags.as_documented,
        "command": write_command(trial, data="DATA"),
        "utc": run.utc,
        "preset": run.preset,
        "settings": asdict(trial.settings),
        "changed": trial.changed,
        "limit": trial.flags.limit,
        "data": {
            "source": Path(run.data["source"]).name,
            "digest": run.data["digest"],
            "rows": run.data["rows"],
            "is_documented": trial.material.is_documented,
        },
        "device": run.device,
        "environment": {k: run.environment[k] for k in ("python", "packages", "cpu")},
        "split": run.split,
        "is_fallback": bool(trial.notices),
        "is_comparable": trial.is_comparable,
        "figures": flatten(run.metrics, trial),
        "history": run.history,
        "kept_epoch": run.kept_epoch,
        # Without the experiment's remarks, of which a card has those of today.
        "deviations": trial.find_deviations(run.device["precision"]),
        "notices": run.notices,
        "collapsed": sum(count > 0 for count in counts) == 1,
        "seconds": run.seconds,
    }
    return to_plain(record, "the record")


def _describe_device(model: "Model") -> dict[str, Any]:
    """Describe where the weights are, and what the products run in."""
    kind = model.weights[0].value.device.type
    device = report.describe_device()
    if device["kind"] != kind:  # --device cpu on a machine with a GPU
        cpu = report.describe_environment(())["cpu"]
        device = {"kind": kind, "name": cpu["name"]}
    return {**device, "precision": str(model.backbone.compute_precision).split(".")[-1]}


def write_command(trial: Trial, data: str | None = None) -> str:
    """Write the command that repeats a trial, with the flags that matter.

    Args:
        trial: the trial.
        data: what to write for the place of the data, if any was given; `None`: it.

    Returns:
        A line for a shell.
    """
    words = ["python", "-m", f"kbert.recipes.{trial.experiment.name}"]
    # Data are cut by the first seed, so the command repeats the seeds from there on.
    seeds = trial.seed - trial.flags.seed + 1
    given = {**_options(trial), **vars(trial.flags), "seeds": seeds}
    if data is not None and trial.flags.data is not None:
        given["data"] = data
    usual = vars(Flags()) | {"card": trial.flags.card}
    if trial.options is not None:
        usual |= vars(type(trial.options)())
    if trial.name != trial.experiment.default:
        given = {trial.experiment.flag: trial.name} | given
    for name, value in given.items():
        if name == "out" or value == usual.get(name):
            continue
        flag = "--" + name.replace("_", "-")
        words += [flag] if value is True else [flag, str(value)]
    return shlex.join(words)
