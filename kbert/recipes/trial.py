"""One training of a documented experiment: a variant with a seed."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from kbert.data import Split
from kbert.presets import Preset
from kbert.recipes.experiment import Experiment, Material, Settings, Variant
from kbert.recipes.flags import Flags

if TYPE_CHECKING:
    import keras

    from kbert.callbacks import Progress
    from kbert.models import Model
    from kbert.report import RunFolder


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
    monitor: tuple[str, str] | None = None
    started: float = field(default_factory=time.perf_counter)

    @property
    def variant(self) -> Variant:
        """The row of the document's table."""
        return self.experiment.variants[self.name]

    @cached_property
    def settings(self) -> Settings:
        """What to train with: the documented settings, and what the user set."""
        return self.variant.settings.override(self.flags)

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

    @cached_property
    def measured_rows(self) -> Split:
        """The rows whose figures stand beside the documented ones."""
        if self.experiment.split == "validation" and self.validation is not None:
            return self.validation
        return self.material.splits.parts[self.experiment.split]

    @property
    def defects(self) -> Sequence[str]:
        """What the source does wrong in this run, and the default does right."""
        return (*self.experiment.defects, *self.variant.defects)

    @property
    def labelled_parts(self) -> dict[str, Split]:
        """The parts in use that have labels."""
        parts = {**self.material.splits.parts, "train": self.train}
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
            and self.preset.name == self.documented_preset
            and not self.settings.differences(self.variant.settings)
            and (self.flags.as_documented or not self.defects)
        )

    def find_deviations(self, precision: str) -> list[str]:
        """Say what differs from the document.

        Args:
            precision: format of the matrix products.

        Returns:
            Sentences.
        """
        found = []
        if self.preset.name != self.documented_preset:
            found.append(
                f"The encoder is {self.preset.name}; the document's is "
                f"{self.documented_preset}."
            )
        if not self.material.is_documented:
            found.append("The data are not all the rows of the document.")
        if not self.variant.is_documented:
            found.append("The document has no run with these settings.")
        if not self.flags.as_documented:
            found += self.defects
        if self.previous is not None:
            found.append(
                "Training goes on from the trained model of "
                f"{self.variant.starts_from}, as the document's does."
            )
        found += self.experiment.remarks
        if precision != "float32":
            found.append(f"Matrix products run in {precision}, not float32.")
        changed = self.settings.differences(self.variant.settings)
        return found + [f"The setting {line}." for line in changed]
