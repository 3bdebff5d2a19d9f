"""A run to report, made without training."""

from typing import Any

import numpy as np

from kbert import evaluation
from kbert.report import Run, Trust

ENVIRONMENT = {
    "python": "3.11.0",
    "platform": "Linux 6 x86_64",
    "packages": {"kbert": "0.1.0"},
    "cpu": {"name": "a processor", "num_cores": 2, "features": ["avx2"]},
}


def make_run(
    label_names: tuple[str, ...] = ("not a disaster", "disaster"),
    texts: tuple[str, ...] = ("what a day", "fire in the valley"),
    num_rows: int = 120,
    **changes: Any,
) -> Run:
    """Make a run with everything that a report can show."""
    rng = np.random.default_rng(0)
    num_classes = len(label_names)
    labels = np.arange(num_rows) % num_classes
    logits = rng.normal(size=(num_rows, num_classes))
    logits[np.arange(num_rows), labels] += 1
    powers = np.exp(logits)
    probabilities = powers / powers.sum(axis=1, keepdims=True)
    all_texts = [texts[row % len(texts)] for row in range(num_rows)]
    example = {"source": "train.csv", "row": 3, "text": texts[0][:80]}
    fields: dict[str, Any] = {
        "recipe": "tweets",
        "title": "Tweets about disasters",
        "question": "Can an encoder tell them apart?",
        "command": "python -m kbert.recipes.tweets",
        "preset": {"name": "tiny", "source": "a test", "num_parameters": 1234},
        "data": {
            "source": "train.csv",
            "digest": "ab" * 32,
            "rows": {"train": 480, "validation": num_rows},
            "label_counts": {"train": dict.fromkeys(label_names, 240)},
            "longest": 45,
            "max_length": 30,
            "truncated": 7,
            "leaks": 2,
            "findings": {"leaks": {"count": 2, "dropped": 0, "examples": [example]}},
            "sentences": ["2 rows with a text that a later split holds too."],
        },
        "device": {"kind": "cpu", "name": "a processor", "num_threads": 2},
        "seed": 42,
        "config": {"epochs": 2, "learning_rate": 2e-5, "limit": None},
        "history": [
            {"epoch": 1, "loss": 0.6, "val_loss": 0.5, "seconds": 31.2},
            {"epoch": 2, "loss": 0.4, "val_loss": float("nan"), "seconds": 30.9},
        ],
        "metrics": evaluation.compute_metrics(
            labels, probabilities, label_names, num_bootstrap=20
        ),
        "documented": [
            {
                "name": "validation accuracy",
                "documented": 0.83,
                "measured": 0.7654321,
                "comparable": True,
            }
        ],
        "deviations": ["The best epoch is kept."],
        "seconds": {"train": 62.1, "total": 70.0},
        "label_names": label_names,
        "mistakes": evaluation.find_mistakes(
            labels, probabilities, all_texts, label_names
        ),
        "labels": labels,
        "probabilities": probabilities,
        "lengths": rng.integers(4, 46, size=600),
        "kept_epoch": 1,
        "environment": ENVIRONMENT,
        "utc": "2026-01-02T03:04:05+00:00",
    }
    return Run(**{**fields, **changes})


def make_trust(text: str = "a fine day", num_rows: int = 120) -> Trust:
    """Make everything a report says about trust, with a text wherever one can be."""
    rng = np.random.default_rng(0)
    labels = np.arange(num_rows) % 2
    scores = np.clip(rng.normal(0.3 + 0.4 * labels, 0.2), 0.01, 0.99)
    probabilities = np.stack([1 - scores, scores], axis=1)
    curve = evaluation.threshold_curve(labels, scores)
    figures = evaluation.measure_calibration(labels, probabilities)
    word = {"attribution": 1.5, "part": "text", "start": 0, "end": len(text)}
    difference = {"value": -0.05, "low": -0.09, "high": -0.01}
    row = {"model": 0.8, "baseline": 0.85, "difference": difference}
    return Trust(
        split="test",
        num_examples=num_rows,
        fitted_on="validation",
        labels=labels,
        probabilities=probabilities,
        probabilities_before=probabilities,
        calibration={"temperature": 1.5, "before": figures, "after": figures},
        thresholds=[
            {
                "label_name": text, "by": "f1", "cost_false_positive": 1.0,
                "cost_false_negative": 1.0, "threshold": 0.4, "is_used": True,
                "chosen": curve.measure(0.4), "half": curve.measure(0.5),
                "points": [curve.describe(i) for i in range(len(curve.thresholds))],
            }
        ],
        slices=[
            {
                "name": text,
                "groups": evaluation.slice_metrics(
                    labels, probabilities, [text] * num_rows
                ),
                "num_left_out": 0,
            }
        ],
        confusions=evaluation.find_confusions(
            labels, probabilities, [text] * num_rows, [text, "other"]
        ),
        explanations=[
            {
                "row": 3, "label_name": text, "target": text, "texts": [text],
                "words": [{"text": text, **word}], "probability": 0.9, "value": 1.5,
                "baseline_value": 0.0, "gap": 0.01, "num_steps": 32, "converged": True,
                "num_left_out": 0,
            }
        ],
        baseline={
            "name": text, "split": "test", "num_examples": num_rows, "seconds": 1.0,
            "figures": {"accuracy": row}, "verdict": "worse", "sentence": text,
        },
        notes=[text],
    )  # fmt: skip
