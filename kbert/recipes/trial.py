"""One training of a documented experiment: a variant with a seed."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kbert.data import Split
from kbert.presets import Preset, is_same_preset
from kbert.presets.names import find_preset
from kbert.recipes.experiment import (
    BERT_BASE_LAYERS,
    Experiment,
    Material,
    Settings,
    Variant,
)
from kbert.recipes.flags import Flags

if TYPE_CHECKING:
    import keras
    import numpy as np

    from kbert.callbacks import Progress
    from kbert.models import Model
    from kbert.report import RunFolder

_READS = {
    "mean": "the mean of all tokens",
    "cls": "the first token",
    "pooler": "the pooled first token",
}
# Flags that say how a run is kept, not what it computes.
_APART = ("out", "card", "seeds")


@dataclass(kw_only=True)
class Trial:
    """What a recipe's `train` is given, and what it leaves behind.

    Args:
        experiment: what is reproduced.
        name: of the variant.
        flags: what the user asked for.
        options: the recipe's own flags.
        material: the data.
        preset: the encoder that training starts from.
        seed: of the head, the batches and dropout.
        folder: where files go.
        notices: sentences on what stands in for the documented preset or data.
        previous: the trained model of the variant that this one starts from.
        extra: figures measured on the way, by name; claims may refer to them.
        files: what else was written: a word for the console, and where it is.
        plan: what tells the run from others, as JSON values.
        probabilities: of the measured rows, (n, num_classes), once they are predicted.
        monitor: what chooses the epoch that is kept, and whether `max` or `min` is
            best; `None`: the last epoch is.
    """

    experiment: Experiment
    name: str
    flags: Flags
    options: Any
    material: Material
    preset: Preset
    seed: int
    folder: "RunFolder"
    notices: Sequence[str] = ()
    previous: "Model | None" = None
    extra: dict[str, Any] = field(default_factory=dict)
    files: dict[str, Any] = field(default_factory=dict)
    plan: dict[str, Any] = field(default_factory=dict)
    probabilities: "np.ndarray | None" = None
    monitor: tuple[str, str] | None = None
    started: float = field(default_factory=time.perf_counter)

    @cached_property
    def variant(self) -> Variant:
        """The row of the document's table; as large a share of the layers is frozen."""
        variant = self.experiment.variants[self.name]
        frozen = variant.settings.frozen
        if frozen is None:
            return variant
        frozen = round(frozen * self.preset.config.num_layers / BERT_BASE_LAYERS)
        return replace(variant, settings=replace(variant.settings, frozen=frozen))

    @cached_property
    def settings(self) -> Settings:
        """What to train with: the documented settings, and what the user set."""
        return self.variant.settings.override(self.flags, self.options)

    @property
    def changed(self) -> list[str]:
        """Which settings the user set otherwise, in words."""
        whose = "documented" if self.variant.is_documented else "usual"
        return self.settings.differences(self.variant.settings, whose)

    @property
    def label_names(self) -> tuple[str, ...]:
        """Class names as the files have them, in id order."""
        return self.material.splits.label_names

    @cached_property
    def train(self) -> Split:
        """The rows to train on."""
        return self.material.splits.train[: self.settings.rows]

    @cached_property
    def validation(self) -> Split | None:
        """The rows that choose the epoch to keep."""
        part = self.material.splits.validation
        return part and part[: self.settings.validation_rows]

    @property
    def split(self) -> str:
        """Name of the part that is measured."""
        own = None if self.flags.as_documented else self.variant.split
        return own or self.experiment.split

    @cached_property
    def measured_rows(self) -> Split:
        """The rows whose figures stand beside the documented ones."""
        part = self.material.splits.parts[self.split]
        return part[: self.settings.validation_rows]

    @property
    def defects(self) -> Sequence[str]:
        """What the source does wrong in this run, and the default does right."""
        return (*self.experiment.defects, *self.variant.defects)

    @property
    def labelled_parts(self) -> dict[str, Split]:
        """The parts in use that have labels."""
        parts = {**self.material.splits.parts, "train": self.train}
        parts[self.split] = self.measured_rows
        if self.validation is not None:
            parts["validation"] = self.validation
        return {k: v for k, v in parts.items() if v.labels is not None}

    @cached_property
    def progress(self) -> "Progress":
        """Shows how training goes and remembers its epochs; pass it to `fit`."""
        from kbert.callbacks import Progress

        return Progress(num_texts=len(self.train))

    @property
    def length(self) -> dict[str, Any]:
        """How much is trained, as `kbert.adamw` takes it."""
        settings = self.settings
        return {
            "epochs": settings.epochs,
            "examples": len(self.train),
            "batch_size": settings.batch_size,
            "accumulate": settings.accumulate,
        }

    @property
    def backup_folder(self) -> Path:
        """Where training keeps its last epoch until the record is written."""
        return self.folder.path / "backup"

    def resumable(self, *callbacks: "keras.callbacks.Callback") -> list:
        """Make a long training one that is taken up where it was killed.

        Args:
            *callbacks: for `fit`.

        Returns:
            The callbacks, and one that keeps every epoch of a long training.
        """
        from kbert.callbacks import Backup

        def keep() -> dict[str, Any]:
            elapsed = time.perf_counter() - self.started
            return {"plan": self.plan, "extra": self.extra, "elapsed": elapsed}

        def restore(kept: dict[str, Any]) -> None:
            self.extra.update(kept["extra"])
            self.started = time.perf_counter() - kept["elapsed"]

        backup = Backup(self.backup_folder, callbacks, keep=keep, restore=restore)
        return [*callbacks, backup]

    def keep_best(self, metric: str = "val_loss") -> "keras.callbacks.EarlyStopping":
        """Keep the best epoch's weights, and stop early where the settings say so.

        Args:
            metric: what is best; a loss should be small, everything else large.

        Returns:
            A callback for `fit`.
        """
        import keras

        mode = "min" if metric.endswith("loss") else "max"
        self.monitor = (metric, mode)
        patience = self.settings.patience or self.settings.epochs
        return keras.callbacks.EarlyStopping(
            metric, mode=mode, patience=patience, restore_best_weights=True
        )

    def score_epochs(self, model: "Model") -> "keras.callbacks.LambdaCallback":
        """Add precision, recall and F1 of the validation rows to each epoch's logs.

        Args:
            model: of two classes, which is trained.

        Returns:
            A callback for `fit`; before `progress`, which then shows them too.
        """
        import keras

        from kbert.evaluation import compute_metrics

        rows = self.validation
        if rows is None:
            raise ValueError("there are no validation rows to score epochs with.")

        def score(epoch: int, logs: dict) -> None:
            found = compute_metrics(
                rows.labels, model.predict(rows), self.label_names, num_bootstrap=0
            )
            for name in ("precision", "recall", "f1"):
                logs[f"val_{name}"] = found[name]["value"]

        return keras.callbacks.LambdaCallback(on_epoch_end=score)

    def note_loss(self, steps: int) -> "keras.callbacks.LambdaCallback":
        """Note the mean training loss of the first steps, as the Trainer logs it.

        Args:
            steps: at most those of an epoch.

        Returns:
            A callback for `fit`; `extra` then has `loss at step <steps>`.
        """
        import keras

        def note(batch: int, logs: dict) -> None:
            if batch + 1 == steps:  # the first epoch's stays
                self.extra.setdefault(f"loss at step {steps}", float(logs["loss"]))

        return keras.callbacks.LambdaCallback(on_train_batch_end=note)

    def find_kept_epoch(self) -> int:
        """Find the epoch whose weights the model has.

        Returns:
            Its number, from 1.
        """
        epochs = self.progress.epochs
        if self.monitor is None:
            return len(epochs)
        metric, mode = self.monitor
        choose = max if mode == "max" else min
        return choose(epochs, key=lambda epoch: epoch[metric])["epoch"]

    def find_longest(self, clean: Any = None) -> int:
        """Find the longest labelled text, as the preset counts.

        Args:
            clean: done to each text first; see `kbert.Preprocessor`.

        Returns:
            Tokens, those around the text included; at most what the encoder takes.
        """
        from kbert.text import Preprocessor

        preprocessor = Preprocessor(
            self.preset.tokenizer,
            max_length=self.preset.config.max_sequence_length,
            clean=clean,
        )
        encoded = [
            preprocessor.encode(part.texts, part.text_pairs)
            for part in self.labelled_parts.values()
        ]
        return max(int(rows.lengths.max()) for rows in encoded)

    def to_json(self, model: "Model") -> dict[str, Any]:
        """Return every setting of the run, for `config.json` and the report.

        Args:
            model: what was trained.

        Returns:
            Names and plain values.
        """
        given = vars(self.flags) | (vars(self.options) if self.options else {})
        own = {
            k: v for k, v in given.items() if k not in (*vars(self.settings), *_APART)
        }
        preprocessor = model.preprocessor
        return {
            "recipe": self.experiment.name,
            self.experiment.flag: self.name,
            **self.settings.to_json(),
            "max_length": preprocessor and preprocessor.max_length,
            **{k: str(v) if isinstance(v, Path) else v for k, v in own.items()},
            "preset": self.preset.name,
            "seed": self.seed,
        }

    def _compare_pooling(self) -> list[str]:
        """Say what the head reads where the documented encoder's reads another."""
        theirs = find_preset(self.documented_preset)
        if theirs is None or self.settings.pooling is not None:
            return []
        ours, documented = self.preset.pooling, theirs.pooling
        if ours == documented:
            return []
        return [f"The head reads {_READS[ours]}; the document's {_READS[documented]}."]

    @property
    def documented_preset(self) -> str:
        """Name of the encoder that the document used."""
        return self.variant.preset or self.experiment.preset

    @property
    def is_comparable(self) -> bool:
        """Whether data, preset and settings are the documented ones."""
        return (
            self.variant.is_documented
            and self.material.is_documented
            and is_same_preset(self.preset.name, self.documented_preset)
            and not self.changed
            and (self.flags.as_documented or not self.defects)
        )

    def find_deviations(self, precision: str) -> list[str]:
        """Say what of this run differs from the document.

        Args:
            precision: format of the matrix products.

        Returns:
            Sentences.
        """
        found = []
        if not is_same_preset(self.preset.name, self.documented_preset):
            found.append(
                f"The encoder is {self.preset.name}; the document's is "
                f"{self.documented_preset}."
            )
        found += self._compare_pooling()
        if not self.material.is_documented:
            found.append("The data are not all the rows of the document.")
        if not self.variant.is_documented:
            words = f": {self.variant.words}" if self.variant.words else ""
            found.append(f"The document has no such run{words}.")
        if not self.flags.as_documented:
            found += self.defects
        frozen = self.experiment.variants[self.name].settings.frozen
        if frozen != self.settings.frozen:
            found.append(
                f"Of {self.preset.config.num_layers} layers {self.settings.frozen} are "
                f"frozen; the document freezes {frozen} of {BERT_BASE_LAYERS}."
            )
        if self.previous is not None:
            alike = ", as the document's does" if self.variant.is_documented else ""
            found.append(
                "Training goes on from the trained model of "
                f"{self.variant.starts_from}{alike}."
            )
        if (precision != "float32") != self.experiment.mixed_precision:
            documented = "fewer bits" if precision == "float32" else "float32"
            found.append(f"Matrix products run in {precision}, not {documented}.")
        return found + [f"The setting {line}." for line in self.changed]
