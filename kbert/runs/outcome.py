"""What a training came to: figures, predictions of the held-out rows, the report."""

import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kbert import report
from kbert.presets import EMBEDDED_PRESET, count_parameters
from kbert.report.plain import to_plain
from kbert.runs.plan import Plan
from kbert.runs.trained import TrainedRun
from kbert.runs.trust import Checks, examine_model

if TYPE_CHECKING:
    from kbert.models import Model

PREDICTIONS_FILE = "predictions.csv"
_IN_MEMORY = "in memory"
_FLAGS_LACK = {"drop"}  # arguments that no flag has
LENGTH_COUNTS = "length_counts"  # of the training texts, for `kbert report`


def write_outcome(
    plan: Plan,
    model: "Model",
    folder: report.RunFolder,
    epochs: Sequence[Mapping[str, Any]],
    started: float,
    trust: report.Trust | None,
    checks: Checks,
) -> TrainedRun:
    """Measure a trained model and write everything about it into its folder.

    Predictions and figures are written before the model is examined any further.

    Args:
        plan: what was trained.
        model: trained.
        folder: of the run.
        epochs: a dict an epoch, as `Progress` remembers them.
        started: `time.perf_counter` when the run began.
        trust: as `settle_model` returns it.
        checks: as `check_data` returns them.

    Returns:
        The run.
    """
    part = plan.splits.parts[plan.split]
    if trust is not None and trust.probabilities is not None:
        predictions = np.asarray(trust.probabilities, np.float32)
    else:
        predictions = plan.task.predict(model, part)
    folder.write_csv(PREDICTIONS_FILE, _tabulate(plan, model, part, predictions))
    run = _build_run(plan, model, epochs, part, predictions)
    run.trust, run.checks = trust, checks.to_json()
    run.data = {**run.data, "sentences": [*run.data["sentences"], *checks.notes]}
    run.seconds = {"train": sum(epoch["seconds"] for epoch in epochs)}
    folder.write_json("report.json", run.to_json())
    if trust is not None:
        examine_model(plan, model, trust, predictions)
    run.seconds = {**run.seconds, "total": time.perf_counter() - started}
    report.write_report(folder, run)
    return TrainedRun(folder.path, run.config, run.to_json(), model)


def _build_run(
    plan: Plan,
    model: "Model",
    epochs: Sequence[Mapping[str, Any]],
    part: Any,
    predictions: Any,
) -> report.Run:
    task, splits = plan.task, plan.splits
    max_length = plan.settings.max_length
    encoded = _encode(plan, model)
    data = report.describe_data(splits, encoded.truncation, max_length=max_length)
    options = task.find_options(model)
    kept_epoch, kept_reason = find_kept_epoch(plan, epochs)
    lengths, counts = np.unique(encoded.full_lengths, return_counts=True)
    counted = zip(lengths.tolist(), counts.tolist(), strict=True)
    data[LENGTH_COUNTS] = {str(length): count for length, count in counted}
    return report.Run(
        recipe=task.name,
        title=f"{_name_source(plan)}: {task.name}",
        question=f"A model that {task.words}.",
        command=write_command(plan),
        preset={
            "name": plan.preset.name,
            "source": plan.preset.source,
            "num_parameters": count_parameters(plan.preset.config),
        },
        data=data,
        device=describe_device(model),
        seed=plan.request.seed,
        config=describe_plan(plan, model),
        history=epochs,
        metrics=task.measure(part, predictions, splits.label_names, **options),
        notices=plan.notices,
        label_names=splits.label_names,
        mistakes=task.find_mistakes(part, predictions, splits.label_names, **options),
        pictures=task.pictures,
        headlines=task.headlines,
        labels=part.labels if task.pictures else None,
        probabilities=predictions if task.pictures else None,
        lengths=encoded.full_lengths,
        split=plan.split,
        kept_epoch=kept_epoch,
        kept_reason=kept_reason,
    )


def _encode(plan: Plan, model: "Model") -> Any:
    """Tokenize the training rows as the model does, to tell what it reads of them."""
    train = plan.splits.train
    if plan.task.has_columns:
        assert model.preprocessor is not None
        return model.preprocessor.encode(train.texts, train.text_pairs)
    return plan.task.encode(plan.preset, train, plan.settings.max_length)


def _name_source(plan: Plan) -> str:
    source = plan.request.source
    return Path(source).name if isinstance(source, str | Path) else "texts in memory"


def _tabulate(
    plan: Plan, model: "Model", part: Any, predictions: Any
) -> list[dict[str, Any]]:
    """Put the held-out rows beside what was predicted for them."""
    columns: dict[str, Any] = {"row": part.rows.tolist(), "text": part.texts}
    if getattr(part, "text_pairs", None) is not None:
        columns["text_pair"] = part.text_pairs
    columns["true_label"] = plan.task.name_labels(part, plan.splits.label_names)
    options = plan.task.find_options(model)
    columns |= plan.task.tabulate(model, part, predictions, **options)
    names = list(columns)
    rows = zip(*columns.values(), strict=True)
    return [dict(zip(names, row, strict=True)) for row in rows]


def describe_plan(plan: Plan, model: "Model") -> dict[str, Any]:
    """Return every setting of a run, for `config.json` and its report.

    Args:
        plan: what is trained.
        model: what came of it.

    Returns:
        Names and plain values.
    """
    request = plan.request
    return {
        "task": plan.task.name,
        "source": _describe_source(request.source),
        "text": request.text,
        "label": request.label,
        "text_pair": request.text_pair,
        "validation": _describe_source(request.validation),
        "test": _describe_source(request.test),
        "limit": request.limit,
        "reading": to_plain(request.reading) or None,
        "preset": plan.preset.name,
        **asdict(plan.settings),
        "long_text": plan.long_text,
        **_describe_windows(model),
        "slices": list(plan.slices) or None,
        "check_labels": plan.check_labels or None,
        **_describe_threshold(plan),
        "positive": plan.positive,
        "freeze": plan.frozen,
        "class_weight": plan.class_weight,
        "precision": str(model.backbone.compute_precision).split(".")[-1],
        "seed": request.seed,
        "label_names": list(plan.splits.label_names),
    }


def _describe_windows(model: "Model") -> dict[str, Any]:
    """Return how a model reads long texts in windows, where it does."""
    windows = model.preprocessor and model.preprocessor.windows
    if not windows:
        return {}
    return {
        "window_overlap": windows.overlap,
        "window_pooling": model.get_layer("window_pooling").mode,
        "max_windows": windows.most,
    }


def _describe_threshold(plan: Plan) -> dict[str, Any]:
    """Return what was asked for, under the names of the flags."""
    rule = plan.threshold
    costs = rule.costs if rule is not None and rule.by == "cost" else {}
    return {"threshold": None if rule is None else rule.by, **costs}


def _describe_source(source: Any) -> Any:
    """Return a share or path as it is, and something in memory in words."""
    if source is None or isinstance(source, int | float | str):
        return source
    return str(source) if isinstance(source, Path) else _IN_MEMORY


def _write_part(plan: Plan, name: str) -> Any:
    """Return a part's flag: a share or path, 0 for none; a folder's own needs none."""
    asked = _describe_source(getattr(plan.request, name))
    is_own = asked is None and name in plan.splits.parts
    return None if is_own else asked or 0


def describe_device(model: "Model") -> dict[str, Any]:
    """Describe where the weights are, and what the products run in.

    Args:
        model: on the device.

    Returns:
        As `report.describe_device`, with `precision`.
    """
    kind = model.weights[0].value.device.type
    device = report.describe_device()
    if device["kind"] != kind:  # --device cpu on a machine with a GPU
        cpu = report.describe_environment(())["cpu"]
        device = {"kind": kind, "name": cpu["name"]}
    return {**device, "precision": str(model.backbone.compute_precision).split(".")[-1]}


def find_kept_epoch(plan: Plan, epochs: Sequence[Mapping[str, Any]]) -> tuple[int, str]:
    """Find the epoch whose weights the model has.

    Args:
        plan: what was trained.
        epochs: a dict an epoch.

    Returns:
        Its number, from 1, and why that though another has a better figure.
    """
    from kbert.runs.best_epoch import choose_epoch, rank_epoch

    task, validation = plan.task, plan.splits.validation
    if validation is None:
        return len(epochs), ""
    chosen = epochs[choose_epoch(task, epochs, len(validation))]["epoch"]
    best = max(epochs, key=lambda epoch: rank_epoch(task, epoch))["epoch"]
    if chosen == best:
        return chosen, ""
    return chosen, (
        f"of the epochs that {len(validation):,} validation rows cannot tell from the "
        f"best, which is epoch {best}, the last"
    )


def write_command(plan: Plan) -> str:
    """Write what repeats a run, with what matters of its arguments.

    Args:
        plan: what is trained.

    Returns:
        A line for a shell; a call in Python where no flag says what was given.
    """
    request, settings = plan.request, plan.settings
    given = {
        "task": plan.task.name,
        "text": request.text,
        "label": request.label,
        "text_pair": request.text_pair,
        "validation": _write_part(plan, "validation"),
        "test": _write_part(plan, "test"),
        "limit": request.limit,
        **request.reading,
        "preset": None if plan.preset.name == EMBEDDED_PRESET else plan.preset.name,
        "epochs": settings.epochs,
        "batch_size": settings.batch_size,
        "learning_rate": float(f"{settings.learning_rate:g}"),
        "max_length": settings.max_length,
        "class_weight": plan.class_weight,
        "freeze": plan.frozen,
        "long_text": plan.long_text,
        **plan.windows,
        **_describe_threshold(plan),
        "positive": plan.positive,
        "precision": None if plan.precision == "auto" else plan.precision,
        "seed": request.seed,
        "check_labels": plan.check_labels or None,
        "slices": plan.slices or None,
    }
    given = {name: value for name, value in given.items() if value is not None}
    if given.get("stratify") is True:  # as usual
        del given["stratify"]
    source = _describe_source(request.source)
    has_flags = _FLAGS_LACK.isdisjoint(given) and not isinstance(
        plan.class_weight, Mapping
    )
    parts = (source, given.get("validation"), given.get("test"))
    if has_flags and _IN_MEMORY not in parts:
        return _write_shell(source, given)
    return _write_call(source, given)


def _write_shell(source: Any, given: Mapping[str, Any]) -> str:
    words = ["kbert", "train", str(source)]
    for name, value in given.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{'' if value else 'no-'}{flag}")
        elif name == "slices":
            words += [word for column in value for word in ("--slice", column)]
        else:
            several = isinstance(value, list | tuple)
            words += [f"--{flag}", ",".join(value) if several else str(value)]
    return shlex.join(words)


def _write_call(source: Any, given: Mapping[str, Any]) -> str:
    """Write a call; what was in memory has the name of its argument."""
    shown = ["data" if source == _IN_MEMORY else repr(source)]
    shown += [
        f"{name}={name if value == _IN_MEMORY else _write_value(value)}"
        for name, value in given.items()
    ]
    return f"kbert.train({', '.join(shown)})"


def _write_value(value: Any) -> str:
    if isinstance(value, Mapping):  # of label ids
        return repr({int(key): float(one) for key, one in value.items()})
    return repr(to_plain(value))
