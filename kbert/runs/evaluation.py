"""Measure a trained model on labelled texts that it has not seen."""

import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from kbert.runs.prediction import say_predicted
from kbert.runs.seen import describe_seen
from kbert.runs.thresholds import find_options
from kbert.runs.trained import Figures, TrainedRun, load_run
from kbert.status_line import StatusLine

_CHUNK_ROWS = 2048  # predicted before a word on how far it is
_logger = logging.getLogger("kbert")


def evaluate(
    run: str | os.PathLike | TrainedRun,
    source: Any,
    *,
    text: str | None = None,
    label: Any = None,
    text_pair: str | None = None,
    limit: int | None = None,
    batch_size: int = 32,
    threshold: float | None = None,
    **reading: Any,
) -> Figures:
    """Measure a trained model on labelled texts.

    If it was trained on some of them, a warning says so.

    Args:
        run: folder that `train` wrote, or what it returned.
        source: path of a file, or anything else that `kbert.load_split` reads.
        text: column of the texts; `None`: as in training.
        label: column of the labels, likewise.
        text_pair: column of the second texts of pairs, likewise.
        limit: most rows to use, the first ones.
        batch_size: rows a batch.
        threshold: probability from which a row is of the second class, or has a
            label, in (0, 1); `None`: as the model was trained to decide.
        **reading: further arguments of `kbert.load_split`, such as `delimiter`.

    Returns:
        Figure name to `value`, `low` and `high` (95 % interval), and tables, as
        `kbert.evaluation.compute_metrics` has them; notebooks show a table.

    Raises:
        FileNotFoundError: the file or the run is missing.
        ValueError: the rows do not fit the model; the sentence says how.
    """
    run = load_run(run)
    request = run.request(
        source, text=text, label=label, text_pair=text_pair, reading=reading
    )
    options = find_options(run.task, run.model, threshold)
    part = run.task.read(request)[:limit]
    predictions = _predict(run, part, batch_size)
    metrics = run.task.measure(part, predictions, run.label_names, **options)
    name = Path(source).name if isinstance(source, str | os.PathLike) else "the data"
    seen = describe_seen(run.path, part, name)
    if seen is not None:
        _logger.warning("%s", seen)
    return Figures(metrics, run.task.headlines, name)


def _predict(run: TrainedRun, part: Any, batch_size: int) -> Any:
    """Predict a part, and say now and then how far it is."""
    line, started, chunks = StatusLine(sys.stderr), time.perf_counter(), []
    try:
        for first in range(0, max(1, len(part)), _CHUNK_ROWS):
            chunk = part[first : first + _CHUNK_ROWS]
            chunks.append(run.task.predict(run.model, chunk, batch_size=batch_size))
            say_predicted(line, started, first + len(chunk), len(part))
    finally:  # an error's sentence has a line of its own
        line.clear()
    if isinstance(chunks[0], np.ndarray):
        return np.concatenate(chunks)
    return [one for chunk in chunks for one in chunk]
