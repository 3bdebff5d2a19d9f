"""What a training is going to do: the data, the task, the encoder, the settings."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kbert.evaluation import ThresholdRule
from kbert.long_texts import resolve_windows
from kbert.presets import EMBEDDED_PRESET, load_preset
from kbert.runs.defaults import Settings, choose_counted, choose_settings, choose_share
from kbert.runs.thresholds import check_rows, check_task, put_positive_last
from kbert.tasks import Request, Task, find_task, guess_task
from kbert.tasks.columns import complete, look
from kbert.tasks.guess import guess_by_format

if TYPE_CHECKING:
    from kbert.inspection import Finding
    from kbert.presets import Preset

ALL = "all"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is going to be trained.

    Args:
        task: what the model does.
        request: the data, with every column named.
        splits: the data, read.
        preset: the encoder that training starts from.
        settings: how it is trained.
        frozen: layers that do not train, from the bottom; `all` or `None`.
        class_weight: as `Model.fit` takes it.
        precision: format of the matrix products.
        long_text: what is read of texts that are too long; `None`: as the task does.
        windows: settings of `kbert.build_classifier` for them that the user has made.
        slices: columns whose values the report measures one by one.
        findings: sentences on what was guessed about the data, such as columns.
        notices: sentences that head the report.
        check_labels: whether labels that are likely wrong are looked for first.
        label_errors: what was found then.
        threshold: how thresholds are chosen; `None`: as usual.
        positive: name of the class that was asked to be the second of two.
    """

    task: Task
    request: Request
    splits: Any
    preset: "Preset"
    settings: Settings
    frozen: int | str | None
    class_weight: Any
    precision: str
    long_text: str | None
    windows: Mapping[str, Any]
    slices: tuple[str, ...]
    findings: tuple[str, ...]
    notices: tuple[str, ...]
    check_labels: bool = False
    label_errors: "Finding | None" = None
    threshold: ThresholdRule | None = None
    positive: str | None = None

    @property
    def split(self) -> str:
        """Name of the part that the model is measured on."""
        parts = self.splits.parts
        for name in ("test", "validation"):
            if name in parts and _has_labels(parts[name]):
                return name
        return "train"

    @property
    def labelled_parts(self) -> dict[str, Any]:
        """The parts that have labels, by name."""
        return {k: v for k, v in self.splits.parts.items() if _has_labels(v)}


def _has_labels(part: Any) -> bool:
    return getattr(part, "labels", None) is not None


def build_plan(
    request: Request,
    task: str | None,
    preset: Any,
    *,
    frozen: int | str | None,
    class_weight: Any,
    precision: str,
    long_text: str | None,
    slices: Sequence[str],
    chosen: Mapping[str, Any],
    windows: Mapping[str, Any] | None = None,
    check_labels: bool = False,
    threshold: ThresholdRule | None = None,
    positive: str | None = None,
) -> Plan:
    """Read the data and decide what the user has left open.

    Args:
        request: what to read; columns may be missing, and shares may be `None` for
            the default or 0 for none.
        task: its name, or `None` to guess.
        preset: as `kbert.load_preset` takes it; `None` for the embedded one.
        frozen: layers that do not train, `all` or `None`.
        class_weight: as `Model.fit` takes it.
        precision: format of the matrix products.
        long_text: what is read of texts that are too long.
        slices: columns whose values the report measures one by one.
        chosen: fields of `Settings` that the user has set; `None` is unset.
        windows: settings of `kbert.build_classifier` for windows, likewise.
        check_labels: whether labels that are likely wrong are looked for first.
        threshold: how thresholds are chosen; `None`: as usual.
        positive: name of the class that is to be the second of two.

    Returns:
        The plan.

    Raises:
        FileNotFoundError: a file is missing.
        PresetError: the preset cannot be used.
        ValueError: the data or a setting cannot be used.
    """
    if check_labels:
        from kbert.inspection.labels import require_cleanlab

        require_cleanlab()
    asked = request
    found_task, request, findings = _find_task(request, task)
    windows = {k: v for k, v in (windows or {}).items() if v is not None}
    _check_options(found_task, class_weight, slices, long_text, windows)
    _check_reading(found_task, request)
    if check_labels and not found_task.balances:
        raise ValueError(
            f"check_labels (--check-labels) is for classes; the task {found_task.name} "
            "has none. Leave it out."
        )
    check_task(threshold, found_task)
    encoder = load_preset(EMBEDDED_PRESET if preset is None else preset)
    splits = put_positive_last(positive, found_task, found_task.load(request))
    request = _keep_separator(request, found_task, splits)
    check_rows(threshold, found_task, splits)
    plan = Plan(
        task=found_task,
        request=request,
        splits=splits,
        preset=encoder,
        settings=_choose(found_task, splits, encoder, frozen, chosen),
        frozen=frozen,
        class_weight=class_weight,
        precision=precision,
        long_text=long_text,
        windows=windows,
        slices=tuple(slices),
        threshold=threshold,
        positive=positive,
        findings=tuple(findings),
        notices=(),
        check_labels=check_labels,
    )
    if long_text == "windows":  # refuses wrong ones before anything takes time
        sizes = windows.get("window_overlap"), windows.get("max_windows")
        resolve_windows(long_text, plan.settings.max_length, *sizes)
    for column in slices:  # refuses an unknown one before anything takes time
        splits.parts[plan.split].column(column)
    notices = [*_note_own_parts(found_task, asked), *_find_notices(plan)]
    return replace(plan, notices=tuple(notices))


def _check_options(
    task: Task,
    class_weight: Any,
    slices: Sequence[str],
    long_text: str | None,
    windows: Mapping[str, Any],
) -> None:
    """Refuse what the task cannot do."""
    if class_weight is not None and not task.balances:
        raise ValueError(
            f"class_weight (--class-weight) is for classes; the task {task.name} "
            f"has none. Leave it out."
        )
    if slices and not task.has_columns:
        raise ValueError(
            f"slices (--slice) name columns of a table; the task {task.name} has none. "
            "Leave them out."
        )
    if long_text is not None and long_text not in task.long_texts:
        can = ", ".join(task.long_texts)
        raise ValueError(
            f"the task {task.name} cannot read long texts by {long_text!r}; "
            f"long_text (--long-text) can be {can}."
            if can
            else f"the task {task.name} reads long texts in windows of its own; "
            "leave long_text (--long-text) out."
        )
    if long_text != "windows":
        for name in windows:
            raise ValueError(
                f"{name} (--{name.replace('_', '-')}) is for long_text='windows' "
                "(--long-text windows); pass that too, or leave it out."
            )


def _check_reading(task: Task, request: Request) -> None:
    """Refuse what the task does not read data with: it would be ignored in silence."""
    for name in request.reading:
        if name in task.readings:
            continue
        if name == "separator":
            raise ValueError(
                "separator (--separator) stands between several labels of a row; the "
                f"task {task.name} has none. Leave it out, or pass task= (--task) "
                "multilabel."
            )
        flag = "--no-stratify" if name == "stratify" else f"--{name}"
        raise ValueError(
            f"{name} ({flag}) has no use for the task {task.name}, whose data are read "
            f"with {', '.join(task.readings)} alone; leave it out."
        )


def _keep_separator(request: Request, task: Task, splits: Any) -> Request:
    """Keep what stood between labels in training: later files are read alike."""
    mark = splits.train.source.separator if task.has_columns else None
    if mark is None:
        return request
    return replace(request, reading={**request.reading, "separator": mark})


def _find_task(request: Request, name: str | None) -> tuple[Task, Request, list[str]]:
    """Find the task, the columns, and what each part gets."""
    task = None if name is None else find_task(name)
    findings: list[str] = []
    table = None
    has_columns = guess_by_format(request) is None if task is None else task.has_columns
    if has_columns:
        request, findings = complete(request)
        table = look(request)
    if task is None:
        task, why = guess_task(request, table)
        findings.append(
            f"The task is {task.name}, since {why}; pass task= (--task) for another."
        )
    num_rows = 0 if table is None else len(table)
    own = task.find_own_parts(request.source)
    return task, _share(request, num_rows, own), findings


def _share(request: Request, num_rows: int, own: Collection[str]) -> Request:
    """Replace shares that were not named by the default, and 0 by no part."""
    share = choose_share(min(num_rows, request.limit or num_rows))
    wanted: dict[str, Any] = {}
    for name in ("validation", "test"):
        asked = getattr(request, name)
        if asked is None:
            wanted[name] = None if name in own else share
        else:
            is_none = isinstance(asked, int | float) and asked == 0
            wanted[name] = None if is_none else asked
    return replace(request, **wanted)


def _note_own_parts(task: Task, asked: Request) -> list[str]:
    """Say what becomes of parts that a source brings itself where a share is asked."""
    notes = []
    for name, own in task.find_own_parts(asked.source).items():
        share = getattr(asked, name, None)
        if not isinstance(share, int | float):
            continue
        place = f"own {Path(own).name}" if isinstance(own, str | Path) else "own part"
        if share and task.has_columns:
            notes.append(
                f"The source's {place} is not used: the {name} part is a share of "
                f"{share:g} of the training rows, as was asked for (--{name})."
            )
        else:
            notes.append(
                f"The {name} part is the source's {place}, so --{name} {share:g} "
                "changes nothing; pass the training file alone to do without it."
            )
    return notes


def _choose(
    task: Task,
    splits: Any,
    preset: "Preset",
    frozen: int | str | None,
    chosen: Mapping[str, Any],
) -> Settings:
    given = {name: value for name, value in chosen.items() if value is not None}
    longest = preset.config.max_sequence_length
    counted = task.encode(
        preset, splits.train[choose_counted(len(splits.train))], longest
    )
    settings = choose_settings(
        len(splits.train),
        preset.config,
        counted.full_lengths,
        is_frozen=frozen == ALL,
        batch_size=given.get("batch_size"),
        epochs=given.get("epochs"),
    )
    return replace(settings, **given)


def _find_notices(plan: Plan) -> list[str]:
    """Say what a reader of the figures has to know first."""
    if plan.split == "test":
        return []
    if plan.split == "train":
        return [
            "No rows were held out: the figures are those of the rows that the model "
            "was trained on, and tell nothing about others."
        ]
    return [
        "No labelled test rows were held out: the figures are those of the rows that "
        "the epoch was chosen with, and flatter the model a little."
    ]
