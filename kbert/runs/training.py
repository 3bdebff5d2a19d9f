"""From a file to a trained model with its report, in one call."""

import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kbert.report import RunFolder
from kbert.report.interruption import keep_if_interrupted
from kbert.runs.label_check import find_label_errors
from kbert.runs.plan import ALL, Plan, build_plan
from kbert.runs.thresholds import has_threshold, read_threshold
from kbert.runs.trained import TrainedRun
from kbert.tasks import Request
from kbert.tasks.task import PAIRED
from kbert.writing import undisturbed

if TYPE_CHECKING:
    from kbert.callbacks import Progress
    from kbert.models import Model


def train(
    source: Any,
    *,
    text: str | None = None,
    label: Any = None,
    text_pair: str | None = None,
    task: str | None = None,
    preset: Any = None,
    validation: Any = None,
    test: Any = None,
    out: str | os.PathLike | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    max_length: int | None = None,
    class_weight: Any = None,
    freeze: int | str | None = None,
    seed: int = 42,
    precision: str = "auto",
    device: str = "auto",
    limit: int | None = None,
    long_text: str | None = None,
    window_overlap: int | None = None,
    window_pooling: str | None = None,
    max_windows: int | None = None,
    slices: Sequence[str] = (),
    check_labels: bool = False,
    threshold: str | float | None = None,
    cost_false_positive: float | None = None,
    cost_false_negative: float | None = None,
    positive: str | None = None,
    **reading: Any,
) -> TrainedRun:
    """Train a model on labelled texts, measure it and write its run folder.

    Whatever is left out is chosen from the data and the encoder, and said.

    Args:
        source: path of a CSV, TSV, JSON lines or Parquet file, or anything else that
            `kbert.load_splits` reads.
        text: column of the texts; `None`: the one that can only be it.
        label: column of the labels, or several columns of 0 and 1; `None`: likewise.
        text_pair: column of the second texts of pairs.
        task: `classify`, `multilabel`, `regress`, ...; `None`: guessed from the data.
        preset: see `kbert.load_preset`; `None`: the embedded encoder.
        validation: share of the rows that choose the epoch to keep, or a source of its
            own; `None`: 15 % of the rows, at most 3,000; 0: none.
        test: the same for the rows that the model is measured on.
        out: folder of the run, new or empty; `None`: `runs/<task>-<time>`.
        epochs: most passes over the training rows.
        batch_size: rows a step.
        learning_rate: highest, after the warm-up.
        max_length: longest text, in tokens; what is longer is cut.
        class_weight: `balanced`, or a dict with a weight for every label id: the
            labels as they are printed, from 0, the one of `positive` last.
        freeze: layers of the encoder that do not train, from the bottom; `all`.
        seed: of the split, the head, the batches and dropout.
        precision: `auto`, `float32`, `bfloat16` or `float16`.
        device: `auto`, `cpu`, `cuda` or `cuda:1` and the like.
        limit: most rows to use of each source.
        long_text: what is read of texts longer than `max_length`: `truncate`,
            `head-tail` or `windows`; `None`: `truncate`.
        window_overlap: tokens that neighbouring windows share; `None`: a quarter of
            `max_length`.
        window_pooling: `mean` or `max` of a class's logit over the windows of a text;
            `None`: `mean`.
        max_windows: most windows a text; `None`: 8.
        slices: columns whose values the report measures one by one.
        check_labels: rank training rows by how likely their label is wrong, as
            `kbert.inspect` does, before training.
        threshold: from which probability a text is of the second of two classes, in
            the order printed, or has a label: a number in (0, 1), or what it is chosen
            by on the validation rows: `f1`, `accuracy` or `cost`. `None`: the likelier
            class, and for each label by F1.
        cost_false_positive: of a row wrongly called so, for `cost`; else 1.
        cost_false_negative: of what is passed over, in the same unit; else 1.
        positive: name of the class that is to be the second of two; `None`: the last
            by number or alphabet.
        **reading: further arguments of `kbert.load_splits`, such as `delimiter`.

    Returns:
        The run: its model, its figures, its folder.

    Raises:
        FileNotFoundError: a file is missing.
        PresetError: the preset cannot be used.
        ValueError: the data or a setting cannot be used; the sentence says how.
        OSError: the run folder cannot be written.
        KeyboardInterrupt: with a sentence on what was kept.

    Example:
        >>> run = kbert.train("reviews.csv", text="review", label="stars")
        >>> run.predict(["what a film"])
    """
    from kbert.devices import use_device
    from kbert.runs import console

    started = time.perf_counter()
    rule = read_threshold(threshold, cost_false_positive, cost_false_negative)
    RunFolder.check(out)
    request = Request(
        source=source,
        text=text,
        label=label,
        text_pair=text_pair,
        validation=validation,
        test=test,
        seed=seed,
        limit=limit,
        reading=reading,
    )
    plan = build_plan(
        request,
        task,
        preset,
        frozen=freeze,
        class_weight=class_weight,
        precision=precision,
        long_text=long_text,
        windows={
            "window_overlap": window_overlap,
            "window_pooling": window_pooling,
            "max_windows": max_windows,
        },
        slices=slices,
        check_labels=check_labels,
        threshold=rule,
        positive=positive,
        chosen={
            "epochs": epochs,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "max_length": max_length,
        },
    )
    console.announce(plan)
    with use_device(device):
        plan = find_label_errors(plan)
        folder = RunFolder.create(out, recipe=plan.task.name)
        return _run(plan, folder, started)


def _run(plan: Plan, folder: RunFolder, started: float) -> TrainedRun:
    from kbert.callbacks import Progress
    from kbert.runs import console, outcome
    from kbert.runs.trust import check_data, settle_model

    progress = Progress(num_texts=len(plan.splits.train))
    finishing = _Finishing(plan)

    def save() -> None:
        finishing.run(progress.model)
        _save(plan, folder, progress)

    with (
        console.saying_cuts_once(),
        keep_if_interrupted(
            folder, progress, save, lambda: _describe_missing(plan, progress.model)
        ),
    ):
        model = build_model(plan)
        console.say_checking(plan)
        checks = check_data(plan, model)
        console.say_checks(checks)
        fit(plan, model, progress)
        finishing.run(model)
        trust = settle_model(plan, model)
        if plan.threshold is not None and not has_threshold(plan.task, model):
            console.say_no_threshold()
        _save(plan, folder, progress)
        run = outcome.write_outcome(
            plan, model, folder, progress.epochs, started, trust, checks
        )
    console.summarise(run)
    return run


class _Finishing:
    """The task's last step, which each model gets once, whole and before it is saved.

    Args:
        plan: what is trained.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan, self._is_done = plan, False

    def run(self, model: "Model") -> None:
        """Finish a model, unless that is done."""
        with undisturbed():
            if not self._is_done:
                self._plan.task.finish(model)
                self._is_done = True


def _describe_missing(plan: Plan, model: "Model") -> str:
    """Say what a model that is saved unsettled lacks, with a space before it."""
    if has_threshold(plan.task, model):
        return ""
    if plan.threshold is not None:
        return " The threshold that was asked for is not in it."
    if plan.task.judge.has_probabilities and not plan.task.balances:
        return " It gives each label from a probability of 0.5: no better was chosen."
    return ""


def _save(plan: Plan, folder: RunFolder, progress: "Progress") -> None:
    """Write what `load_run` needs, before anything else can fail."""
    from kbert.runs.outcome import describe_plan
    from kbert.runs.seen import write_seen

    config = {"recipe": plan.task.name, **describe_plan(plan, progress.model)}
    folder.write_json("config.json", config)  # first: no model is without it
    folder.save_model(progress.model)
    write_seen(folder, plan.splits.train)
    folder.write_csv("history.csv", progress.epochs)


def build_model(plan: Plan) -> "Model":
    """Build the model of a plan.

    Args:
        plan: what is trained.

    Returns:
        The model, not compiled.
    """
    from kbert import training

    settings = plan.settings
    training.set_seed(plan.request.seed)
    model = plan.task.build(
        plan.preset,
        plan.splits.label_names,
        dropout=settings.dropout,
        max_length=settings.max_length,
        precision=plan.precision,
        **({} if plan.long_text is None else {"long_text": plan.long_text}),
        **plan.windows,
    )
    if plan.frozen == ALL:
        training.freeze(model)
    elif plan.frozen:
        training.freeze(model, int(plan.frozen), embeddings=True)
    if plan.task.has_columns and plan.request.text_pair is not None:
        model.metadata[PAIRED] = True
    plan.task.prepare(model, plan.splits.train)
    return model


def fit(plan: Plan, model: "Model", progress: "Progress") -> None:
    """Compile a model, train it and keep the epoch that validation chooses.

    Args:
        plan: what is trained.
        model: as `build_model` made it.
        progress: shows and remembers the epochs.
    """
    from kbert import training
    from kbert.runs.best_epoch import KeepBest

    task, settings, validation = plan.task, plan.settings, plan.splits.validation
    callbacks: list[Any] = [progress]
    if validation is not None:
        callbacks.append(KeepBest(task, settings.patience, len(validation)))
        validation = task.feed(model, validation, settings.batch_size, None)
    options = {} if plan.class_weight is None else {"class_weight": plan.class_weight}
    fed = task.feed(model, plan.splits.train, settings.batch_size, plan.request.seed)
    optimizer = training.adamw(
        settings.learning_rate,
        schedule="linear",
        warmup=settings.warmup,
        epochs=settings.epochs,
        examples=len(getattr(fed, "windows", fed)),  # some texts have several windows
        batch_size=settings.batch_size,
        weight_decay=settings.weight_decay,
    )
    task.compile(model, optimizer)
    model.fit(
        fed,
        validation_data=validation,
        batch_size=settings.batch_size,
        epochs=settings.epochs,
        callbacks=callbacks,
        verbose=0,
        **options,
    )
