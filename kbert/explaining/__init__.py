"""Which words a prediction hangs on: integrated gradients on the engine."""

from kbert.explaining.explanation import Explanation, Piece
from kbert.explaining.integrated import TOLERANCE, explain
from kbert.explaining.marking import Segment, cut_segments, segment_text

__all__ = [
    "TOLERANCE",
    "Explanation",
    "Piece",
    "Segment",
    "cut_segments",
    "explain",
    "segment_text",
]
