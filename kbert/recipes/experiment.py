"""What a documented experiment is: its settings, its figures and how it trains."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from kbert.data import Splits
from kbert.recipes.flags import Flags

if TYPE_CHECKING:
    import numpy as np

    from kbert.models import Model
    from kbert.recipes.trial import Trial


BERT_BASE_LAYERS = 12


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of one training, as a document states them.

    Args:
        epochs: passes over the training rows.
        batch_size: rows a step.
        learning_rate: the highest, of the encoder.
        max_length: tokens a text may have; `None`: as many as the longest has.
        head_learning_rate: the highest, of the head; `None`: `learning_rate`.
        schedule: fall of the rate, as `kbert.adamw` takes it.
        warmup: updates in which it rises, or a share of all.
        weight_decay: decoupled decay.
        accumulate: steps whose gradients make one update.
        dropout: share dropped in the head.
        frozen: transformer layers that do not train, from the bottom, of the 12 that
            BERT-base has; `None`: none.
        pooling: how a text becomes one vector; `None`: as the preset was trained.
        patience: epochs without a better validation before training stops; `None`:
            all epochs run.
        augment: how a copy of each training text is changed, as
            `kbert.augmentation.augment_texts` takes it; `none`: there are no copies.
        views: of each measured text, whose predictions are averaged.
        rows: training rows to use; `None`: all.
        validation_rows: rows to validate with, and to measure; `None`: all.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    max_length: int | None = None
    head_learning_rate: float | None = None
    schedule: Any = None
    warmup: float = 0
    weight_decay: float = 0.0
    accumulate: int = 1
    dropout: float = 0.1
    frozen: int | None = None
    pooling: Any = None
    patience: int | None = None
    augment: str = "none"
    views: int = 1
    rows: int | None = None
    validation_rows: int | None = None

    def override(self, flags: Flags, options: Any = None) -> "Settings":
        """Replace what the user set.

        Args:
            flags: `None` in them leaves a setting as it is.
            options: the recipe's own flags, a dataclass, to the same effect.

        Returns:
            The settings to train with.
        """
        given = {**vars(flags), **(vars(options) if options is not None else {})}
        names = [one.name for one in fields(self) if given.get(one.name) is not None]
        return replace(self, **{name: given[name] for name in names})

    def to_json(self) -> dict[str, Any]:
        """Return what is set, by name; what is off or as usual is left out."""
        return {
            one.name: getattr(self, one.name)
            for one in fields(self)
            if getattr(self, one.name) != one.default
        }

    def differences(self, other: "Settings", whose: str = "documented") -> list[str]:
        """Name the settings that another has otherwise.

        Args:
            other: the documented ones.
            whose: what to call them, where they are not.

        Returns:
            Such as `epochs is 3 (documented: 4)`.
        """
        pairs = [
            (f.name, getattr(self, f.name), getattr(other, f.name))
            for f in fields(self)
        ]
        return [
            f"{name.replace('_', ' ')} is {_show(mine)} ({whose}: {_show(theirs)})"
            for name, mine, theirs in pairs
            if mine != theirs
        ]


def _show(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class Claim:
    """A figure that a document states.

    Args:
        name: what it is, in words.
        value: the figure.
        key: where the measured one is found: the name of a metric, one of a class
            (`f1.spam`), of an epoch (`val_accuracy.2`), or of `Trial.extra`.
        higher_is_better: `None` where neither is.
        note: what to bear in mind when the two are compared.
        to: the highest figure, where the document states a range from `value` up.
    """

    name: str
    value: float
    key: str
    higher_is_better: bool | None = True
    note: str = ""
    to: float | None = None


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One row of a document's tables: settings, and the figures they are said to give.

    Args:
        settings: as documented.
        claims: what the document states.
        preset: documented encoder, if it is not the experiment's.
        starts_from: variant whose trained model this one goes on training.
        starts_from_is_defect: whether the source does so by mistake, so that it is
            repeated only with `--as-documented`.
        is_documented: whether the document has this row at all.
        split: part that is measured, where the source measures the experiment's by
            mistake, which is repeated only with `--as-documented`.
        defects: sentences on what the source does wrong in this run alone.
        words: what sets it apart, in a few words.
        unlike: what the default does otherwise than the source, in a few words.
    """

    settings: Settings
    claims: Sequence[Claim] = ()
    preset: str | None = None
    starts_from: str | None = None
    starts_from_is_defect: bool = False
    is_documented: bool = True
    split: str | None = None
    defects: Sequence[str] = ()
    words: str = ""
    unlike: str = "the document's defects mended"


@dataclass(frozen=True, kw_only=True)
class Material:
    """The data of an experiment.

    Args:
        splits: train, and validation or test or both.
        words: where they are from, as people read it.
        notice: a sentence that says what stands in for the documented data, if any.
        is_documented: whether these are all the rows of the document.
        sentences: what was found out about the texts.
        label_words: class names as people read them; `None`: as the files have them.
        figures: what was counted in the texts; claims may refer to them.
        extra: whatever else the recipe needs later.
    """

    splits: Splits
    words: str
    notice: str | None = None
    is_documented: bool = False
    sentences: Sequence[str] = ()
    label_words: tuple[str, ...] | None = None
    figures: Mapping[str, float] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label_names(self) -> tuple[str, ...]:
        """Class names as people read them."""
        return self.label_words or self.splits.label_names


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A documented experiment.

    Args:
        name: of the recipe's module.
        title: headline.
        question: what it is to find out.
        source: document, in words; `file` is its name.
        file: the document's file name.
        preset: documented encoder.
        num_rows: training rows of the document; `None`: the variants say.
        variants: by name, in the document's order.
        load: reads the data.
        train: builds, compiles and fits a model.
        predict: class probabilities of a part, (n, num_classes); `None`: the model's.
        finish: writes more files, measures more; called with the trained model.
        split: part that is measured.
        flag: name of the recipe's flag that chooses a variant.
        default: variant that runs when none is chosen; `""`: the first.
        groups: names that stand for several variants.
        options: dataclass of the recipe's own flags, if it has any.
        summary: metrics that sum a run up, the most important first.
        defects: sentences on what the source does wrong and the default does right.
        remarks: sentences on what the source leaves open, or what its figures give
            away; every report has them among its deviations.
        mixed_precision: whether the document's products run in fewer bits than float32.
    """

    name: str
    title: str
    question: str
    source: str
    file: str
    preset: str
    variants: Mapping[str, Variant]
    load: Callable[[Flags], Material]
    train: Callable[["Trial"], "Model"]
    predict: "Callable[[Trial, Model, Any], np.ndarray] | None" = None
    finish: "Callable[[Trial, Model], None] | None" = None
    split: str = "validation"
    flag: str = "variant"
    default: str = ""
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    options: type | None = None
    num_rows: int | None = None
    summary: Sequence[str] = ("accuracy", "f1", "log_loss")
    defects: Sequence[str] = ()
    remarks: Sequence[str] = ()
    mixed_precision: bool = False

    def __post_init__(self) -> None:
        """Take the first variant where no default is named."""
        if not self.default:
            object.__setattr__(self, "default", next(iter(self.variants)))

    @property
    def headline(self) -> Claim | None:
        """The documented figure that sums up the default variant, if there is one."""
        claims = self.variants[self.default].claims
        keys = (*self.summary, "batch_mean_accuracy", *(one.key for one in claims))
        return next((one for key in keys for one in claims if one.key == key), None)

    def has_defects(self, name: str) -> bool:
        """Whether the source does anything wrong that the default does right.

        Args:
            name: of a variant.

        Returns:
            Whether `--as-documented` changes how it runs.
        """
        variant = self.variants[name]
        return bool(self.defects or variant.defects or variant.starts_from_is_defect)
