"""Read labelled text from anywhere, check it and split it."""

from kbert.data.findings import Example, Finding, Findings
from kbert.data.split import Split
from kbert.data.splits import Splits, load_split, load_splits

__all__ = [
    "Example",
    "Finding",
    "Findings",
    "Split",
    "Splits",
    "load_split",
    "load_splits",
]
