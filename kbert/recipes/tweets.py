"""Fine-tune BERT to tell tweets about disasters from other tweets.

Run:    python -m kbert.recipes.tweets --data FOLDER
Source: lab manual "Advanced Computational Linguistics", experiment 7, which reports a
        validation accuracy of .83 with bert-base-uncased on Kaggle's disaster tweets.
"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from kbert import cli

if TYPE_CHECKING:
    from kbert.models import Model
    from kbert.recipes.tweets_report import Experiment


@dataclass(frozen=True, kw_only=True)
class Config:
    """Fine-tune BERT to tell tweets about disasters from other tweets."""

    data: Path | None = None  # folder with train.csv and test.csv, or that train.csv
    preset: str | None = None  # name or folder; else BERT-base, or the embedded one
    out: Path | None = None  # run folder, new or empty; else runs/tweets-<time>
    epochs: int = 4  # passes over the training tweets
    batch_size: int = 32  # tweets a step
    learning_rate: float = 2e-5  # of the first step; falls linearly to 0
    max_length: int | None = None  # tokens; else the longest tweet's (documented: 45)
    cleaning: Literal["fixed", "documented", "none"] = "fixed"  # order of its steps
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"  # of products
    device: Literal["auto", "cpu", "cuda"] = "auto"  # where to train
    seed: int = 42  # of the split, the head, the batches and dropout
    limit: int | None = None  # use at most so many tweets of train.csv
    as_documented: bool = False  # documented cleaning, and keep the last epoch

    def __post_init__(self) -> None:
        """Refuse values that no run can use."""
        for name in ("epochs", "batch_size", "limit"):
            cli.require_at_least(self, name, 1)
        cli.require_at_least(self, "max_length", 3)  # one between [CLS] and [SEP]
        cli.require_at_least(self, "seed", 0)
        if not 0 < self.learning_rate < 1:
            rate = f"received {self.learning_rate}. The documented one is 2e-5."
            raise ValueError(f"--learning-rate must lie between 0 and 1; {rate}")
        if self.as_documented and self.cleaning == "none":
            raise ValueError(
                "--as-documented cleans as the source does; received --cleaning none. "
                "Leave one of them out."
            )
        if self.as_documented:
            object.__setattr__(self, "cleaning", "documented")


def run(config: Config) -> Path:
    """Train on the tweets, measure, and write the run folder; return its path."""
    started = time.perf_counter()
    from kbert import presets, report
    from kbert.recipes import tweets_data

    report.RunFolder.check(config.out)
    tweets = tweets_data.load_tweets(config.data, seed=config.seed, limit=config.limit)
    preset, fallback = presets.resolve_preset(
        config.preset, tweets_data.DOCUMENTED_PRESET
    )
    notices = [sentence for sentence in (fallback, tweets.notice) if sentence]

    import keras  # from here on it takes seconds: wrong input has been refused

    from kbert.callbacks import Progress
    from kbert.recipes import devices, interruption, tweets_report

    experiment = tweets_report.Experiment(config, tweets, preset, notices, started)
    train, validation = tweets.splits.train, tweets.splits.validation
    progress = Progress(num_texts=len(train))
    keep_best = keras.callbacks.EarlyStopping(
        "val_accuracy", mode="max", patience=config.epochs, restore_best_weights=True
    )
    with devices.use_device(config.device):
        model = _build_model(experiment)
        folder = report.RunFolder.create(config.out, recipe="tweets")
        tweets_report.announce(experiment, model)
        with interruption.keep_if_interrupted(folder, config, model, progress):
            model.fit(
                train,
                validation_data=validation,
                epochs=config.epochs,
                batch_size=config.batch_size,
                callbacks=[progress] if config.as_documented else [progress, keep_best],
                verbose=0,
            )
            done = tweets_report.write(folder, experiment, model, progress)
    tweets_report.summarise(done, folder)
    return folder.path


def _build_model(experiment: "Experiment") -> "Model":
    import kbert

    config, tweets = experiment.config, experiment.tweets
    kbert.set_seed(config.seed)  # before the head is initialised
    model = kbert.build_classifier(
        experiment.preset,
        tweets.splits.label_names,
        head="linear",
        dropout=0.1,
        max_length=config.max_length or experiment.find_longest(),
        clean=config.cleaning,
        precision=config.precision,
    )
    optimizer = kbert.adamw(
        config.learning_rate,
        schedule="linear",
        epochs=config.epochs,
        examples=len(tweets.splits.train),
        batch_size=config.batch_size,
        weight_decay=0.0,  # the default of the source's optimizer
        epsilon=1e-8,
        global_clipnorm=1.0,
    )
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def main(argv: list[str] | None = None) -> int:
    """Run the recipe as the command line asks; return the exit code."""
    return cli.run_recipe(Config, run, argv, prog="python -m kbert.recipes.tweets")


if __name__ == "__main__":
    sys.exit(main())
