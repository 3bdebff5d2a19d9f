"""Where kbert's tasks differ: models, labels and outputs on transformers' side."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kbert.tasks import Task as KbertTask
from kbert.tasks import answer, classify, regress, tag

if TYPE_CHECKING:
    from benchmarks.tasks import Task

_IGNORED = -100  # transformers' label of tokens that do not count


@dataclass(frozen=True)
class Problem:
    """A task of `kbert.tasks` and transformers' model for the same.

    Args:
        task: kbert's.
        metrics: figures of held-out rows, the one to judge by first.
        model_class: transformers' model.
        head: its last layer.
        dropout: share of values that both sides drop before the head.
    """

    task: KbertTask
    metrics: tuple[str, ...]
    model_class: str = "BertForSequenceClassification"
    head: str = "classifier"
    dropout: float = 0.1


PROBLEMS = {
    "classify": Problem(classify.TASK, ("accuracy", "f1", "loss")),
    "regress": Problem(regress.TASK, ("pearson", "spearman", "mean_squared_error")),
    "tag": Problem(tag.TASK, ("f1", "accuracy"), "BertForTokenClassification"),
    "answer": Problem(
        answer.TASK,
        ("exact_match", "f1"),
        "BertForQuestionAnswering",
        "qa_outputs",
        dropout=0.0,
    ),
}


def list_labels(
    task: "Task", rows: np.ndarray, length: int | None
) -> list[dict[str, Any]]:
    """Return what a data set of the Trainer has of each row besides its tokens.

    Args:
        task: whose rows they are.
        rows: int (n,).
        length: what rows are padded to, or `None`.
    """
    kind, labels = task.workload.kind, task.label(rows)
    if kind == "answer":
        names = ("start_positions", "end_positions")
        return [dict(zip(names, one, strict=True)) for one in labels[0].tolist()]
    if kind != "tag":
        return [{"labels": one} for one in labels[0].tolist()]
    tags = np.where(labels[1] > 0, labels[0], _IGNORED).tolist()
    ends = task.lengths[rows].tolist()
    return [
        {"labels": one[:end] + [_IGNORED] * ((length or end) - end)}
        for one, end in zip(tags, ends, strict=True)
    ]


def build_collator(task: "Task", tokenizer: Any) -> Any:
    """Return what pads a batch to its longest row, as transformers' examples do."""
    import transformers

    if task.workload.kind == "tag":
        return transformers.DataCollatorForTokenClassification(tokenizer)
    return transformers.DataCollatorWithPadding(tokenizer)


def read_output(task: "Task", output: Any, mask: Any) -> np.ndarray:
    """Return the output of transformers' model as kbert's model gives it.

    Args:
        task: what the model is for.
        output: of the model.
        mask: tensor (n, length), 0 at padding, where no answer begins or ends.
    """
    import torch

    kind = task.workload.kind
    if kind == "answer":
        scores = torch.stack([output.start_logits, output.end_logits], dim=1)
        logits = scores.masked_fill(mask[:, None] == 0, -torch.inf)
    else:
        logits = output.logits
    found = logits.float() if kind == "regress" else logits.float().softmax(-1)
    return found.cpu().numpy()
