"""Records of trials, made without training."""

from typing import Any

PACKAGES = {"kbert": "0.1.0", "keras": "3.15.1", "torch": "2.13.0"}
SETTINGS = {"epochs": 4, "batch_size": 32, "learning_rate": 2e-5}


def make_record(
    variant: str = "fixed",
    seed: int = 42,
    *,
    accuracy: float = 0.81,
    preset: str = "all_minilm_l6_v2_en",
    flags: str = "",
    num_epochs: int = 4,
    split_seed: int = 42,
    **changes: Any,
) -> dict[str, Any]:
    """Make a record of the tweets recipe."""
    history = [
        {
            "epoch": epoch,
            "loss": 0.6 / epoch,
            "accuracy": accuracy - 0.1 + 0.04 * epoch,
            "val_loss": 0.5 - 0.01 * epoch,
            "val_accuracy": accuracy - 0.01 * (num_epochs - epoch),
            "seconds": 30.0,
        }
        for epoch in range(1, num_epochs + 1)
    ]
    logs = {f"{k}.{row['epoch']}": v for row in history for k, v in row.items()}
    words = ["python -m kbert.recipes.tweets"]
    words += [f"--cleaning {variant}"] if variant != "fixed" else []
    words += [f"--data DATA --preset {preset}", flags]
    words += [f"--seed {split_seed}"] if split_seed != 42 else []
    words += [f"--seeds {seed - split_seed + 1}"] if seed != split_seed else []
    record: dict[str, Any] = {
        "schema": 1,
        "recipe": "tweets",
        "variant": variant,
        "seed": seed,
        "split_seed": split_seed,
        "as_documented": False,
        "command": " ".join(filter(None, words)),
        "utc": "2026-01-02T03:04:05+00:00",
        "preset": {"name": preset, "source": "a test", "num_parameters": 22_713_216},
        "settings": SETTINGS,
        "changed": [],
        "limit": None,
        "data": {
            "source": "tweets",
            "digest": "ab" * 32,
            "rows": {"train": 6_090, "validation": 1_523},
            "is_documented": True,
        },
        "device": {
            "kind": "cpu",
            "name": "a processor",
            "num_threads": 2,
            "precision": "float32",
        },
        "environment": {
            "python": "3.11.0",
            "packages": PACKAGES,
            "cpu": {"name": "a processor", "num_cores": 2},
        },
        "split": "validation",
        "is_fallback": False,
        "is_comparable": False,
        "figures": {
            "accuracy": accuracy,
            "f1": accuracy - 0.03,
            "batch_mean_accuracy": accuracy,
            "longest text, tokens": 45,
            "train_seconds": 30.0 * num_epochs,
            **logs,
        },
        "history": history,
        "kept_epoch": num_epochs,
        "deviations": [f"The encoder is {preset}; the document's is another."],
        "notices": [],
        "collapsed": False,
        "seconds": {"train": 120.0, "total": 130.5},
    }
    return {**record, **changes}
