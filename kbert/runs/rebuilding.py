"""Write a run's report anew from what its folder holds."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kbert.data.csv_rows import read_csv_rows
from kbert.data.values import mark_labels
from kbert.evaluation.temperature import scale_probabilities
from kbert.report import Run, RunFolder, Trust, render_html, render_markdown
from kbert.runs.outcome import LENGTH_COUNTS, PREDICTIONS_FILE
from kbert.runs.trained import REPORT_FILE, TrainedRun, load_run

_MARKDOWN_FILE = "report.md"


def write_report(run: str | os.PathLike | TrainedRun) -> Path:
    """Write a run's `report.html` and `report.md` anew from what its folder holds.

    Args:
        run: folder that `train` wrote, or what it returned; its `report.json` and
            `predictions.csv` hold what is shown.

    Returns:
        The page, `report.html`.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: one of the two is missing, or not as `train` wrote it.
        OSError: a report cannot be written; the old one is untouched.

    Example:
        >>> kbert.write_report("runs/first")
    """
    run = load_run(run)
    if not run.report:
        raise ValueError(f"{run.path} holds no report: the run was interrupted.")
    try:
        shown = _read_run(run)
        files = {
            REPORT_FILE: render_html(shown),
            _MARKDOWN_FILE: render_markdown(shown),
        }
    except FileNotFoundError as error:
        raise ValueError(f"{run.path} holds no {error.filename}.") from None
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ValueError(
            f"{run.path} does not hold what its report showed: {error!r:.80}."
        ) from None
    folder = RunFolder(run.path)
    for name, text in files.items():
        folder.write_text(name, text)
    return run.path / REPORT_FILE


def _read_run(run: TrainedRun) -> Run:
    known = {field.name for field in dataclasses.fields(Run)}
    found = {k: v for k, v in run.report.items() if k in known and k != "trust"}
    counts = found["data"].get(LENGTH_COUNTS) or {}
    lengths = np.repeat([int(n) for n in counts], list(counts.values()))
    rebuilt = Run(
        **found,
        headlines=run.task.headlines,
        pictures=run.task.pictures,
        lengths=lengths if counts else None,
    )
    trust = run.report.get("trust")
    labels = predictions = None
    if run.task.pictures or (trust and run.task.judge.has_probabilities):
        labels, predictions = _read_predictions(run)
    if run.task.pictures:
        rebuilt.labels, rebuilt.probabilities = labels, predictions
    if trust:
        rebuilt.trust = _read_trust(trust, labels, predictions)
    return rebuilt


def _read_trust(
    found: Mapping[str, Any],
    labels: np.ndarray | None,
    probabilities: np.ndarray | None,
) -> Trust:
    before = None
    if found.get("calibration") and labels is not None:
        before = scale_probabilities(
            probabilities,
            1 / found["calibration"]["temperature"],
            independent=labels.ndim == 2,
        )
    known = {k: v for k, v in found.items() if k != "warning"}
    return Trust(
        **known,
        labels=labels,
        probabilities=probabilities,
        probabilities_before=before,
    )


def _read_predictions(run: TrainedRun) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and predictions of the measured rows, as they were measured."""
    rows = list(read_csv_rows(run.path / PREDICTIONS_FILE))
    names = run.label_names
    if not names:
        pairs = [(float(row["true_label"]), float(row["label"])) for row in rows]
        labels, predictions = np.array(pairs, np.float32).T
        return labels, predictions
    columns = [[float(row[f"probability_{name}"]) for row in rows] for name in names]
    return _read_labels(run, rows), np.array(columns, np.float32).T


def _read_labels(run: TrainedRun, rows: Sequence[Mapping[str, str]]) -> np.ndarray:
    written = [row["true_label"] for row in rows]
    if not run.task.balances:
        return mark_labels(written, run.label_names)
    ids = {name: label for label, name in enumerate(run.label_names)}
    return np.array([ids[name] for name in written], np.int64)
