"""What the Markdown and the HTML report have in common: a run, arranged for reading."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kbert.report.run import Run
from kbert.report.trust_sections import arrange_trust
from kbert.report.wording import UNBOUNDED

MAX_MATRIX_CLASSES = 12
MAX_TABLE_CLASSES = 50
MAX_CONFUSIONS = 20
MAX_EPOCHS = 30
MAX_PANELS = 4
# What a history has besides metrics.
NO_METRIC = {"epoch", "seconds", "learning_rate"}
_HEADLINES = (("accuracy",), ("f1", "f1_macro"), ("roc_auc",), ("log_loss",))
_MISSING: dict[str, Any] = {"value": None, "low": None, "high": None}


def arrange(run: Run) -> dict[str, Any]:
    """Arrange a run for reading.

    Args:
        run: the run.

    Returns:
        What the templates show, by name.
    """
    apart = [row for row in run.documented if not row.get("comparable")]
    return {
        "run": run,
        "headlines": _headlines(run),
        "figures": _figures(run.metrics),
        "compared": [row for row in run.documented if row.get("comparable")],
        "apart": apart,
        "apart_has_notes": any(row.get("note") for row in apart),
        "label_names": _label_names(run),
        "confusion": _confusion(run),
        "confusions": _confusions(run),
        **_classes(run.metrics),
        **_history(run),
        "label_table": _label_table(run.data),
        "findings": _examples(run.data.get("findings") or {}),
        "sentences": list(run.data.get("sentences") or ()),
        "device": _device(run),
        **arrange_trust(run),
    }


def _label_names(run: Run) -> list[str]:
    named = [row["label_name"] for row in run.metrics.get("per_class", ())]
    return [str(name) for name in run.label_names] or named


def _figures(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """List the metrics that have a value or say why not; ends as shares of a line."""
    rows = []
    for name, found in metrics.items():
        if not isinstance(found, Mapping) or "value" not in found:
            continue
        row = {"name": name, **_MISSING, "note": None, **found, "start": None}
        is_share = row["low"] is not None and row["low"] >= 0
        if name not in UNBOUNDED and is_share:
            row["start"] = 100 * row["low"]
            row["width"] = 100 * (row["high"] - row["low"])
            row["middle"] = 100 * row["value"]
        rows.append(row)
    return rows


def _headlines(run: Run) -> list[dict[str, Any]]:
    figures = {row["name"]: row for row in _figures(run.metrics)}
    wanted = [(name,) for name in run.headlines] or _HEADLINES
    chosen = [
        next((figures[n] for n in names if n in figures), None) for names in wanted
    ]
    return [row for row in chosen if row is not None and row["value"] is not None]


def _confusion(run: Run) -> list[dict[str, Any]] | None:
    """Arrange the confusion matrix where it can be read: counts and shares by row."""
    matrix = run.metrics.get("confusion_matrix")
    names = _label_names(run)
    if not matrix or len(matrix) > MAX_MATRIX_CLASSES:
        return None
    return [
        {
            "name": name,
            "cells": [
                {
                    "count": count,
                    "share": count / max(1, sum(counts)),
                    "is_right": column == row,
                }
                for column, count in enumerate(counts)
            ],
        }
        for row, (name, counts) in enumerate(zip(names, matrix, strict=True))
    ]


def _confusions(run: Run) -> list[dict[str, Any]]:
    """List the commonest confusions where there are too many classes for a matrix."""
    names = _label_names(run)
    if run.labels is None or run.probabilities is None or not names:
        return []
    if len(names) <= MAX_MATRIX_CLASSES:
        return []
    labels = np.asarray(run.labels, np.int64)
    predicted = np.asarray(run.probabilities).argmax(axis=1)
    wrong = np.flatnonzero(labels != predicted)
    pairs = labels[wrong] * len(names) + predicted[wrong]
    found, counts = np.unique(pairs, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:MAX_CONFUSIONS]
    return [
        {
            "label_name": names[int(pair) // len(names)],
            "predicted_name": names[int(pair) % len(names)],
            "count": int(count),
        }
        for pair, count in zip(found[order], counts[order], strict=True)
    ]


def _classes(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Take the classes' table; of very many classes the worst."""
    rows = list(metrics.get("per_class", ()))
    num_left_out = max(0, len(rows) - MAX_TABLE_CLASSES)
    if num_left_out:
        rows = sorted(rows, key=lambda row: row["f1"])[:MAX_TABLE_CLASSES]
    return {"classes": rows, "num_classes_left_out": num_left_out}


def _history(run: Run) -> dict[str, Any]:
    """Take the epochs' table, and the metrics that are worth a plot."""
    names = list(dict.fromkeys(name for row in run.history for name in row))
    metrics = [
        name
        for name in dict.fromkeys(n.removeprefix("val_") for n in names)
        if name not in NO_METRIC
    ]
    return {
        "panels": metrics[:MAX_PANELS],
        "history_columns": names[:10],
        "history_rows": list(run.history)[-MAX_EPOCHS:],
        "num_epochs_left_out": max(0, len(run.history) - MAX_EPOCHS),
    }


def _label_table(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Arrange rows and label counts by split; a flat count belongs to the whole."""
    counts = data.get("label_counts") or {}
    rows = data.get("rows") or {}
    if counts and not all(isinstance(found, Mapping) for found in counts.values()):
        counts = {"all": counts}
        rows = {**rows, "all": sum(counts["all"].values())}
    table = []
    for split, num_rows in rows.items():
        labels = counts.get(split) or {}
        total = max(1, sum(labels.values()))
        shown = sorted(labels.items(), key=lambda item: -item[1])[:MAX_MATRIX_CLASSES]
        if len(labels) <= MAX_MATRIX_CLASSES:
            shown = list(labels.items())
        bars = [{"name": n, "count": c, "share": c / total} for n, c in shown]
        table.append({"split": split, "num_rows": num_rows, "labels": bars})
    return table


def _examples(findings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Take the kinds of rows that were found, with the first examples of each."""
    return [
        {
            "kind": kind,
            "count": found["count"],
            "examples": list(found.get("examples") or ())[:5],
        }
        for kind, found in findings.items()
        if isinstance(found, Mapping) and found.get("count")
    ]


def _device(run: Run) -> list[tuple[str, Any]]:
    """List where the run ran, leaving out what is unknown."""
    from kbert.report.wording import gigabytes

    cpu = run.environment.get("cpu") or {}
    rest = {
        name.replace("_", " "): value
        for name, value in run.device.items()
        if name not in ("kind", "name", "memory_bytes")
    }
    rows: list[tuple[str, Any]] = [
        ("device", _join([run.device.get("kind"), run.device.get("name")])),
        *rest.items(),
        ("processor", cpu.get("name")),
        ("cores", cpu.get("num_cores")),
        ("instructions", ", ".join(cpu.get("features") or ())),
        ("memory", gigabytes(cpu["memory_bytes"]) if cpu.get("memory_bytes") else None),
        ("system", run.environment.get("platform")),
        ("Python", run.environment.get("python")),
    ]
    if memory := run.device.get("memory_bytes"):
        if run.device.get("kind") == "cuda":
            rows.insert(1, ("device memory", gigabytes(memory)))
    return [(name, value) for name, value in rows if value not in (None, "")]


def _join(parts: Sequence[Any]) -> str:
    return ", ".join(str(part) for part in parts if part)
