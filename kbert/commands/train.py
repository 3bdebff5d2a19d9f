"""`kbert train`: from a file to a trained model with its report."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tyro.conf import Positional, UseAppendAction

from kbert import cli
from kbert.commands.layout import LabelLayout
from kbert.commands.output import print_json, reserving


@dataclass(frozen=True, kw_only=True)
class Flags:
    """Train a model on labelled texts, measure it on held-out rows, and report."""

    file: Positional[str]  # CSV, TSV, JSON lines or Parquet file, or folder of parts
    text: str | None = None  # column of the texts; else the one that can only be it
    label: str | None = None  # column of the labels, or columns of 0 and 1: a,b,c
    text_pair: str | None = None  # column of the second texts of pairs
    task: str | None = None  # classify, multilabel, regress, ...; else guessed
    preset: str | None = None  # encoder, see kbert presets; else the embedded one
    epochs: int | None = None  # most passes over the rows; one of them is kept
    test: str | None = None  # FILE or share to measure on; 0: none; else 0.15
    validation: str | None = None  # FILE or share that chooses the epoch; else 0.15
    out: Path | None = None  # run folder; else runs/<task>-<time>
    class_weight: Literal["balanced"] | None = None  # rare labels count for more
    freeze: str | None = None  # layers of the encoder that do not train, or all
    learning_rate: float | None = None  # highest; else by the encoder's width
    batch_size: int | None = None  # rows a step; else by the number of rows
    max_length: int | None = None  # tokens a text may have; else 99 of 100 fit
    seed: int = 42  # of the split, the head, the batches and dropout
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"  # of products
    device: str = "auto"  # auto, cpu, cuda, cuda:1
    limit: int | None = None  # use at most so many rows
    long_text: Literal["truncate", "head-tail", "windows"] | None = None  # if longer
    window_overlap: int | None = None  # tokens that windows share; else a quarter
    window_pooling: Literal["mean", "max"] | None = None  # of logits; else mean
    max_windows: int | None = None  # of a text; else 8
    check_labels: bool = False  # first rank rows whose label is likely wrong
    slice: UseAppendAction[tuple[str, ...]] = ()  # column to measure the values of
    # to decide from: f1, accuracy, cost or a number; of the second class, in the order
    # printed
    threshold: str | None = None
    cost_false_positive: float | None = None  # of one wrongly called so, for cost
    cost_false_negative: float | None = None  # of one passed over, for cost
    positive: str | None = None  # class to come second of two; else the last by name
    no_stratify: bool = False  # split at random, whatever the labels
    json: bool = False  # print one JSON object with the figures and the folder
    layout: LabelLayout = field(default_factory=LabelLayout)

    def __post_init__(self) -> None:
        """Refuse values that no training can use."""
        for name in ("epochs", "batch_size", "limit"):
            cli.require_at_least(self, name, 1)
        cli.require_at_least(self, "max_length", 3)  # one between [CLS] and [SEP]
        cli.require_at_least(self, "seed", 0)
        if self.learning_rate is not None and not 0 < self.learning_rate < 1:
            raise ValueError(
                "--learning-rate must lie between 0 and 1; received "
                f"{self.learning_rate}. BERT is fine-tuned with 1e-5 to 2e-4."
            )
        if self.freeze not in (None, "all") and not self.freeze.isdecimal():
            raise ValueError(
                f"--freeze must be a number of layers or all; received {self.freeze!r}."
            )


def run(flags: Flags) -> None:
    """Train as the flags say.

    Args:
        flags: of the command.
    """
    from kbert.runs import train

    given = dict(vars(flags))
    is_json, source = given.pop("json"), given.pop("file")
    given |= given.pop("layout").to_reading()
    if given.pop("no_stratify"):
        given["stratify"] = False
    given["slices"] = given.pop("slice")
    for name in ("validation", "test"):
        given[name] = read_share(given[name])
    if flags.freeze is not None and flags.freeze != "all":
        given["freeze"] = int(flags.freeze)
    with reserving(is_json):
        found = train(source, **given)
    if is_json:
        print_json(
            {
                "run": found.path,
                "task": found.task.name,
                "split": found.split,
                "metrics": found.metrics,
                "seconds": found.report["seconds"],
            }
        )


def read_share(value: str | None) -> Any:
    """Read a share as a number; a file stays a path.

    Args:
        value: of the flag.

    Returns:
        A number, a path or `None`.
    """
    try:
        return None if value is None else float(value)
    except ValueError:
        return value
