"""From which probability a model decides: what a user may ask for."""

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kbert.data import Split
from kbert.evaluation import ThresholdRule
from kbert.tasks import Task

if TYPE_CHECKING:
    from kbert.models import Model


def read_threshold(
    threshold: str | float | None,
    cost_false_positive: float | None,
    cost_false_negative: float | None,
) -> ThresholdRule | None:
    """Read how thresholds are to be chosen.

    Args:
        threshold: `f1`, `accuracy`, `cost`, a number in (0, 1) or its digits; `None`
            asks for none.
        cost_false_positive: for `cost`; `None`: 1, if the other is given.
        cost_false_negative: likewise.

    Returns:
        The rule, or `None`.

    Raises:
        ValueError: they do not fit each other, or are none of these.
    """
    costs = {
        "cost_false_positive": cost_false_positive,
        "cost_false_negative": cost_false_negative,
    }
    given = {name: value for name, value in costs.items() if value is not None}
    if threshold == "cost" and not given:
        raise ValueError(
            "threshold 'cost' (--threshold cost) weighs one kind of mistake against "
            "the other: pass cost_false_positive or cost_false_negative "
            "(--cost-false-positive, --cost-false-negative); one left out is 1."
        )
    if given and threshold != "cost":
        name = next(iter(given))
        raise ValueError(
            f"{name} (--{name.replace('_', '-')}) is for threshold 'cost' (--threshold "
            f"cost), which was not asked for; pass both, or neither."
        )
    if threshold is None:
        return None
    by: Any = threshold
    if isinstance(threshold, str):
        with contextlib.suppress(ValueError):
            by = float(threshold)
    return ThresholdRule(by, **given)


def has_threshold(task: Task, model: "Model") -> bool:
    """Return whether a model decides by thresholds that were chosen.

    Args:
        task: of the model.
        model: trained.
    """
    return task.find_options(model).get("thresholds") is not None


def find_options(task: Task, model: "Model", threshold: float | None) -> dict[str, Any]:
    """Find what decides: a threshold that the user gives, or the model's own.

    Args:
        task: of the model.
        model: trained.
        threshold: a number in (0, 1) for the second of two classes, or for each label;
            `None`: the model's own.

    Returns:
        As `Task.find_options`.

    Raises:
        ValueError: it is no such number, or the model decides without one.
    """
    if threshold is None:
        return task.find_options(model)
    if isinstance(threshold, str) or not 0 < threshold < 1:
        raise ValueError(
            "threshold (--threshold) must be a number between 0 and 1; received "
            f"{threshold!r}. By f1, accuracy or cost it is chosen in training."
        )
    rule = ThresholdRule(threshold)
    check_task(rule, task)
    names = model.label_names or ()
    _check_classes(task, names)
    return {"thresholds": threshold if task.balances else [threshold] * len(names)}


def check_task(rule: ThresholdRule | None, task: Task) -> None:
    """Refuse a threshold for a task that decides without any.

    Args:
        rule: that was asked for, or `None`.
        task: of the model.

    Raises:
        ValueError: the task has none.
    """
    if rule is not None and not task.judge.has_probabilities:
        raise ValueError(
            "threshold (--threshold) is for two classes and for labels; the task "
            f"{task.name} decides without one. Leave it out."
        )


def put_positive_last(positive: Any, task: Task, splits: Any) -> Any:
    """Order two classes so that the second is the positive one.

    Args:
        positive: its name; `None` leaves the order as it is.
        task: of the model.
        splits: its data.

    Returns:
        The data, with class ids in that order.

    Raises:
        ValueError: there are no two classes, or none of that name.
    """
    if positive is None:
        return splits
    if not task.balances:
        raise ValueError(
            f"positive (--positive) names one of two classes; the task {task.name} "
            "has none. Leave it out."
        )
    names = splits.label_names
    if len(names) != 2:
        raise ValueError(
            f"positive (--positive) names one of two classes; these are {len(names):,}."
            " Leave it out."
        )
    if str(positive) not in names:
        raise ValueError(
            f"positive (--positive) must be {names[0]!r} or {names[1]!r}, the classes "
            f"of these data; received {str(positive)!r}."
        )
    if str(positive) == names[1]:
        return splits
    swapped = {name: _swap(part) for name, part in splits.parts.items()}
    return replace(splits, label_names=names[::-1], **swapped)


def _swap(part: Split) -> Split:
    if part.labels is None:
        return part
    return Split(part.source, part.rows, 1 - part.labels, part.label_names[::-1])


def check_rows(rule: ThresholdRule | None, task: Task, splits: Any) -> None:
    """Refuse a threshold for data that give none.

    Args:
        rule: that was asked for, or `None`.
        task: of the model; it has thresholds.
        splits: its data.

    Raises:
        ValueError: there are more than two classes, or no validation rows.
    """
    if rule is None:
        return
    _check_classes(task, splits.label_names)
    if splits.validation is None or splits.validation.labels is None:
        raise ValueError(
            "threshold (--threshold) needs validation rows to choose and to measure "
            "it on, and there are none; give validation (--validation) a share."
        )


def _check_classes(task: Task, label_names: Sequence[str]) -> None:
    if task.balances and len(label_names) != 2:
        raise ValueError(
            f"threshold (--threshold) is for two classes; these are "
            f"{len(label_names):,}. Leave it out: the likeliest class is taken."
        )


def describe_threshold(
    rule: ThresholdRule, task: Task, label_names: Sequence[str]
) -> str:
    """Say what a model is going to decide by, and which mistake is which.

    Args:
        rule: that was asked for.
        task: of the model; it has thresholds.
        label_names: in id order; of classes two.

    Returns:
        A part of a sentence.
    """
    by = f"{rule.by:g}" if rule.is_fixed else f"by {rule.by}"
    if not task.balances:
        return f"{by}, for each label"
    name = repr(str(label_names[1]))
    found = f"{by}, from the probability of {name}"
    if rule.by != "cost":
        return found
    return f"{found}; a false positive is a row wrongly called {name}"
