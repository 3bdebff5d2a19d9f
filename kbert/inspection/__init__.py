"""Find out what is wrong with a data set, and write it without that."""

from kbert.inspection.finding import KINDS, Example, Finding
from kbert.inspection.fixing import Fixed
from kbert.inspection.inspection import Inspection, LabelErrors
from kbert.inspection.run import check_labels, inspect, inspect_splits

__all__ = [
    "KINDS",
    "Example",
    "Finding",
    "Fixed",
    "Inspection",
    "LabelErrors",
    "check_labels",
    "inspect",
    "inspect_splits",
]
