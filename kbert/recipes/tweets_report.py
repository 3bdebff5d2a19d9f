"""What the tweets recipe says on the console and writes into its run folder."""

import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from kbert import evaluation, report
from kbert.callbacks import Progress, format_seconds
from kbert.data import Split
from kbert.presets import Preset, count_parameters
from kbert.recipes.interruption import to_json
from kbert.recipes.tweets_data import DOCUMENTED_PRESET, LABEL_WORDS, Tweets
from kbert.text import Preprocessor

if TYPE_CHECKING:
    import numpy as np

    from kbert.models import Model
    from kbert.recipes.tweets import Config

# Source: the printed output of the experiment's training cell.
DOCUMENTED_LOSSES = (0.48, 0.36, 0.28, 0.23)
DOCUMENTED_ACCURACIES = (0.83, 0.84, 0.83, 0.83)
DOCUMENTED_SETTINGS = {"epochs": 4, "batch_size": 32, "learning_rate": 2e-5}
_PLAIN = "documented as the mean of per-batch accuracies, measured as the plain one"
_QUESTION = (
    "Can a fine-tuned BERT encoder tell tweets about real disasters from tweets that "
    "only sound like it?"
)


@dataclass(frozen=True)
class Experiment:
    """What a run is about, before any training.

    Args:
        config: the settings.
        tweets: the data.
        preset: the encoder that training starts from.
        notices: sentences on what stands in for the documented preset or data.
        started: `time.perf_counter()` when the run began, in seconds.
    """

    config: "Config"
    tweets: Tweets
    preset: Preset
    notices: Sequence[str]
    started: float

    @property
    def is_comparable(self) -> bool:
        """Whether data, preset and settings are the documented ones."""
        return (
            self.config.as_documented
            and self.tweets.is_documented
            and self.preset.name == DOCUMENTED_PRESET
            and self.config.max_length in (None, 45)
            and not self._changed_settings()
        )

    def find_longest(self) -> int:
        """Find the longest labelled tweet, as the preset counts.

        Returns:
            Tokens, those around the text included; at most what the encoder takes.
        """
        preprocessor = Preprocessor(
            self.preset.tokenizer,
            max_length=self.preset.config.max_sequence_length,
            clean=self.config.cleaning,
        )
        return int(preprocessor.encode(self.tweets.labelled_texts).lengths.max())

    def _changed_settings(self) -> list[str]:
        return [
            f"{name} is {getattr(self.config, name)} (documented: {value})"
            for name, value in DOCUMENTED_SETTINGS.items()
            if getattr(self.config, name) != value
        ]

    def find_deviations(self, precision: str) -> list[str]:
        """Say what differs from the document.

        Args:
            precision: format of the matrix products.

        Returns:
            Sentences.
        """
        found = [
            "The document does not seed its split, so its very rows are not known: "
            f"the cut here is 80 : 20 at random with seed {self.config.seed}."
        ]
        if self.preset.name != DOCUMENTED_PRESET:
            found.append(
                f"The encoder is {self.preset.name}; the document's is BERT-base "
                f"({DOCUMENTED_PRESET})."
            )
        if not self.tweets.is_documented:
            found.append("The data are not the document's 7,613 labelled tweets.")
        if not self.config.as_documented:
            found.append(
                "The epoch with the best validation accuracy is kept; the document "
                "keeps the last, since it forgets the best value in every epoch."
            )
        if self.config.cleaning == "fixed":
            found.append(
                "URLs and tags are stripped first; the document strips them when the "
                "characters that mark them are gone, so pieces of URLs stay."
            )
        if self.config.cleaning == "none":
            found.append("The tweets are not cleaned; the document cleans them.")
        if precision != "float32":
            found.append(f"Matrix products run in {precision}, not float32.")
        return found + [f"The setting {line}." for line in self._changed_settings()]

    def compare(self, history: Sequence[dict], metrics: dict) -> list[dict[str, Any]]:
        """Put the documented figures beside the measured ones.

        Args:
            history: epochs, as `Progress` has them.
            metrics: of the model that was kept.

        Returns:
            Rows as `report.Run` takes them.
        """
        per_epoch = [
            ("training loss", DOCUMENTED_LOSSES, "loss", ""),
            ("validation accuracy", DOCUMENTED_ACCURACIES, "val_accuracy", _PLAIN),
        ]
        comparable = self.is_comparable
        figures: list[dict[str, Any]] = []
        for name, values, key, note in per_epoch:
            for epoch, documented in enumerate(values, 1):
                measured = (
                    history[epoch - 1].get(key) if epoch <= len(history) else None
                )
                row = {"name": f"{name}, epoch {epoch}", "documented": documented}
                row |= {"measured": measured, "note": note if comparable else ""}
                figures.append(row)
        kept = {
            "name": "validation accuracy of the kept epoch, mean over batches",
            "documented": DOCUMENTED_ACCURACIES[-1],
            "measured": metrics["batch_mean_accuracy"]["value"],
        }
        return [{**row, "comparable": comparable} for row in [*figures, kept]]


def announce(experiment: Experiment, model: "Model") -> None:
    """Say what is about to run, in words that a newcomer understands.

    Args:
        experiment: what runs.
        model: built, not trained.
    """
    config, preset = experiment.config, experiment.preset
    splits = experiment.tweets.splits
    counts = [f"{len(splits.train):,} tweets to train on"]
    counts.append(f"{len(splits.validation or ()):,} to validate with")
    if splits.test is not None:
        counts.append(f"{len(splits.test):,} to predict")
    size = count_parameters(preset.config) / 1e6
    assert model.preprocessor is not None
    max_length = model.preprocessor.max_length
    print(f"Data      {splits.source}:")
    print(f"          {', '.join(counts)}, of at most {max_length} tokens")
    print(f"Preset    {preset.name} ({size:.1f} million weights; {preset.source})")
    for notice in experiment.notices:
        print(f"Note      {notice}")
    print(
        f"Settings  epochs {config.epochs}, batch size {config.batch_size}, rate "
        f"{config.learning_rate:g}, cleaning {config.cleaning}, seed {config.seed}",
        flush=True,
    )


def write(
    folder: report.RunFolder,
    experiment: Experiment,
    model: "Model",
    progress: Progress,
) -> report.Run:
    """Save, predict, measure and report.

    Args:
        folder: where the files go.
        experiment: what ran.
        model: the trained model.
        progress: its epochs.

    Returns:
        The run, as its report shows it.
    """
    folder.save_model(model)
    folder.write_csv("history.csv", progress.epochs)
    _write_submission(folder, experiment.tweets, model)
    run = _build_run(folder, experiment, model, progress)
    folder.write_json("config.json", to_json(experiment.config))
    report.write_report(folder, run)
    return run


def _write_submission(folder: report.RunFolder, tweets: Tweets, model: "Model") -> None:
    test = tweets.splits.test
    if test is None:
        return
    classes = model.predict(test).argmax(axis=1)
    rows = zip(tweets.test_ids, classes, strict=True)
    folder.write_csv(
        "submission.csv", [{"id": number, "target": int(c)} for number, c in rows]
    )


def _build_run(
    folder: report.RunFolder,
    experiment: Experiment,
    model: "Model",
    progress: Progress,
) -> report.Run:
    config, preset, tweets = experiment.config, experiment.preset, experiment.tweets
    names = LABEL_WORDS
    splits = replace(tweets.splits, label_names=names, source=tweets.words)
    validation, preprocessor = splits.validation, model.preprocessor
    assert validation is not None and preprocessor is not None
    encoded = preprocessor.encode(tweets.labelled_texts)
    probabilities = model.predict(validation)
    metrics = evaluation.compute_metrics(
        validation.labels, probabilities, names, batch_size=config.batch_size
    )
    device = _describe_device(model)
    return report.Run(
        recipe="tweets",
        title="Disaster tweets",
        question=_QUESTION,
        command=_write_command(config, folder),
        preset=_describe_preset(preset),
        data=report.describe_data(
            splits, encoded.truncation, max_length=preprocessor.max_length
        ),
        device=device,
        seed=config.seed,
        config=to_json(config),
        history=progress.epochs,
        metrics=metrics,
        documented=experiment.compare(progress.epochs, metrics),
        deviations=experiment.find_deviations(device["precision"]),
        notices=experiment.notices,
        seconds={
            "train": sum(epoch["seconds"] for epoch in progress.epochs),
            "total": time.perf_counter() - experiment.started,
        },
        label_names=names,
        mistakes=_find_mistakes(validation, probabilities),
        labels=validation.labels,
        probabilities=probabilities,
        lengths=encoded.full_lengths,
        kept_epoch=_find_kept_epoch(config, progress.epochs),
    )


def _describe_preset(preset: Preset) -> dict[str, Any]:
    return {
        "name": preset.name,
        "source": preset.source,
        "num_parameters": count_parameters(preset.config),
    }


def _find_kept_epoch(config: "Config", epochs: Sequence[dict]) -> int:
    if config.as_documented:
        return len(epochs)
    return max(epochs, key=lambda epoch: epoch["val_accuracy"])["epoch"]


def _find_mistakes(rows: Split, probabilities: "np.ndarray") -> list[dict[str, Any]]:
    return evaluation.find_mistakes(
        rows.labels, probabilities, rows.texts, LABEL_WORDS, rows=rows.rows
    )


def _describe_device(model: "Model") -> dict[str, Any]:
    """Describe where the weights are, and what the products run in."""
    kind = model.weights[0].value.device.type
    device = report.describe_device()
    if device["kind"] != kind:  # --device cpu on a machine with a GPU
        cpu = report.describe_environment(())["cpu"]
        device = {"kind": kind, "name": cpu["name"]}
    return {**device, "precision": str(model.backbone.compute_precision).split(".")[-1]}


def _write_command(config: "Config", folder: report.RunFolder) -> str:
    """Write the command that repeats the run, with the flags that matter."""
    words = ["python", "-m", "kbert.recipes.tweets"]
    usual = type(config)(as_documented=config.as_documented)
    for name, value in vars(config).items():
        if name == "out" or value == getattr(usual, name):
            continue
        words += ["--" + name.replace("_", "-"), str(value)]
    if config.as_documented:
        words.append("--as-documented")
    return shlex.join(words)


def summarise(run: report.Run, folder: report.RunFolder) -> None:
    """Print the result and where everything is, in five lines.

    Args:
        run: as `write` returned it.
        folder: where the files are.
    """
    accuracy, f1 = run.metrics["accuracy"], run.metrics["f1"]
    print(
        f"Result    validation accuracy {accuracy['value']:.3f} (95 % interval "
        f"{accuracy['low']:.3f} to {accuracy['high']:.3f}), F1 {f1['value']:.3f}, with "
        f"the weights of epoch {run.kept_epoch} of {len(run.history)}, in "
        f"{format_seconds(run.seconds['total'])}"
    )
    if run.is_comparable:
        print("Claimed   validation accuracy .83 with this preset and these data")
    else:
        print(
            "Claimed   .83, for BERT-base on all of Kaggle's tweets: not to be compared"
        )
    print(f"Report    {folder.path / 'report.html'}")
    print(f"Model     {folder.path / 'model.keras'}")
    submission = folder.path / "submission.csv"
    print(
        f"Submit    {submission if submission.exists() else 'no test.csv, so nothing'}"
    )
