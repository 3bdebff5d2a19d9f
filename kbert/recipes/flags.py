"""The flags that every recipe has."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kbert import cli


@dataclass(frozen=True, kw_only=True)
class Flags:
    """What a user may set in any recipe; what is left out is as documented."""

    data: Path | None = None  # file or folder; else the documented data, or a sample
    preset: str | None = None  # name or folder; else the documented, or the embedded
    out: Path | None = None  # run folder; else runs/<recipe>-<time>
    seed: int = 42  # of the split, and of the first run's head, batches and dropout
    seeds: int = 1  # runs of each variant, with seeds from --seed upwards
    epochs: int | None = None  # passes over the training rows; else as documented
    batch_size: int | None = None  # rows a step; else as documented
    learning_rate: float | None = None  # the encoder's highest; else as documented
    max_length: int | None = None  # tokens a text may have; else as documented
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"  # of products
    device: Literal["auto", "cpu", "cuda"] = "auto"  # where to train
    limit: int | None = None  # use at most so many rows of each labelled file
    as_documented: bool = False  # repeat the source's defects too
    card: bool = False  # add the runs to recipes/results and rewrite the card

    def __post_init__(self) -> None:
        """Refuse values that no run can use."""
        for name in ("seeds", "epochs", "batch_size", "limit"):
            cli.require_at_least(self, name, 1)
        cli.require_at_least(self, "max_length", 3)  # one between [CLS] and [SEP]
        cli.require_at_least(self, "seed", 0)
        if self.learning_rate is not None and not 0 < self.learning_rate < 1:
            raise ValueError(
                "--learning-rate must lie between 0 and 1; received "
                f"{self.learning_rate}. BERT is fine-tuned with 1e-5 to 1e-4."
            )
