"""Runs: from a file to a trained model with its report, and what to do with it."""

from kbert.runs.evaluation import evaluate
from kbert.runs.prediction import predict
from kbert.runs.rebuilding import write_report
from kbert.runs.trained import TrainedRun, load_run
from kbert.runs.training import train

__all__ = ["TrainedRun", "evaluate", "load_run", "predict", "train", "write_report"]
