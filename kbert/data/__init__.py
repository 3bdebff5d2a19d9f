"""Read labelled text from anywhere, check it and split it."""

from kbert.data.columns import Columns, find_columns
from kbert.data.findings import Example, Finding, Findings
from kbert.data.split import Split
from kbert.data.splits import Splits, load_split, load_splits

__all__ = [
    "Columns",
    "Example",
    "Finding",
    "Findings",
    "Split",
    "Splits",
    "find_columns",
    "load_split",
    "load_splits",
]
