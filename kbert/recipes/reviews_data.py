"""Reviews for the recipes of sentiment: found in files and cut into the three parts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kbert.data import Split, Splits, load_split, load_splits
from kbert.data.files import SUFFIXES
from kbert.recipes.experiment import Claim, Material
from kbert.recipes.flags import Flags
from kbert.recipes.sources import SAMPLES
from kbert.report.wording import metric_name

if TYPE_CHECKING:
    from kbert.models import Model
    from kbert.recipes.trial import Trial

SAMPLE = SAMPLES / "reviews"
LABEL_WORDS = ("negative", "positive")
# How files and the hub name the two, in id order.
LABEL_NAMES = (("0", "1"), ("neg", "pos"), LABEL_WORDS)
VALIDATION = 0.1  # of the training rows; the documents set none aside
TEST = 0.1  # of them, where there is no test file
NO_LABELS = (
    "The test rows have no labels, so they are predicted (predictions.csv) and cannot "
    "be scored: a tenth of the training rows is measured in their place."
)


@dataclass(frozen=True)
class Places:
    """Where the two labelled parts are.

    Args:
        train: a path, or anything else that `kbert.load_splits` takes.
        test: the same, or `None`.
    """

    train: Any
    test: Any = None


def find_files(data: Path, stems: Mapping[str, str]) -> Places:
    """Find the two files of a data set.

    Args:
        data: a folder that holds them, or the one to train on.
        stems: names that the two may have, without their endings, the likeliest first.

    Returns:
        The files. Without a test file beside it, a training file is alone.

    Raises:
        FileNotFoundError: there is no such file, or none of such a name in the folder.
    """
    if not data.is_dir():
        if not data.exists():
            raise FileNotFoundError(
                f"there is no file or folder {data}; check the path of --data."
            )
        return Places(data, _find(data.parent, stems.get(data.stem)))
    for train, test in stems.items():
        found = _find(data, train)
        if found is not None:
            return Places(found, _find(data, test))
    held = ", ".join(sorted(path.name for path in data.iterdir())[:20]) or "nothing"
    raise FileNotFoundError(
        f"folder {data} has no {' or '.join(stems)} file ({', '.join(SUFFIXES)}); it "
        f"holds {held}. Name the training file itself."
    )


def _find(folder: Path, stem: str | None) -> Path | None:
    paths = [folder / f"{stem}{suffix}" for suffix in SUFFIXES]
    return next((path for path in paths if path.is_file()), None)


def build_material(
    places: Places,
    flags: Flags,
    *,
    words: str,
    notice: str | None = None,
    num_documented: tuple[int, int] | None = None,
    sentences: Sequence[str] = (),
    validates_on_test: bool = False,
) -> Material:
    """Read labelled reviews and cut off train what has no file of its own.

    Args:
        places: the two parts, with columns `text` and `label`.
        flags: `limit` is of each part, `seed` of the cut.
        words: where the reviews are from, as people read it.
        notice: what stands in for the documented reviews, if any.
        num_documented: the document's rows to train on and to test with, if it tells.
        sentences: what is to be known about the texts.
        validates_on_test: whether the test rows stand in for validation rows.

    Returns:
        Train, validation and test; `extra["unlabelled"]`: the rows of a test part that
        nobody can score.

    Raises:
        ValueError: the reviews are not as they should be.
    """
    validation = None if validates_on_test else VALIDATION
    extra = {}
    if places.test is not None and not _has_labels(test := load_split(places.test)):
        extra["unlabelled"], places = test, replace(places, test=None)
        notice = " ".join(filter(None, (notice, NO_LABELS)))
    splits = _cut(places, flags, validation)
    if splits.label_names not in LABEL_NAMES:
        raise ValueError(
            f"column 'label' of {words} must hold 0 and 1; received "
            f"{', '.join(splits.label_names[:5])}. Write 1 for praise and 0 for blame."
        )
    sizes = {name: len(part) for name, part in splits.parts.items()}
    labelled = sizes["train"] + sizes.get("validation", 0), sizes["test"]
    if validates_on_test:
        splits = replace(splits, validation=splits.test)
    return Material(
        splits=splits,
        words=words,
        notice=notice,
        is_documented=notice is None and labelled == num_documented,
        label_words=LABEL_WORDS,
        sentences=sentences,
        extra=extra,
    )


def _has_labels(test: Split) -> bool:
    """Whether there are labels; null and -1, which the hub writes, are none."""
    if test.labels is not None:
        return True
    try:
        labels = test.column("label")
    except ValueError:  # no such column
        return False
    return any(label is not None and str(label) != "-1" for label in labels)


def _cut(places: Places, flags: Flags, validation: float | None) -> Splits:
    return load_splits(
        places.train,
        validation=validation,
        test=TEST if places.test is None else places.test,
        seed=flags.seed,
        limit=flags.limit,
    )


def add_copies(train: Split, kind: str, seed: int) -> Split:
    """Add a changed copy of each text to those to train on.

    Args:
        train: labelled texts.
        kind: how the copies are changed, as `kbert.augmentation.augment_texts` takes
            it; `none`: there are no copies.
        seed: of the changes.

    Returns:
        The rows, and after them as many again with the same labels.
    """
    if kind == "none" or train.labels is None:
        return train
    from kbert.augmentation import augment_texts

    texts = train.texts
    texts += augment_texts(texts, kind, seed=seed)  # type: ignore[arg-type]
    labels = np.tile(train.labels, 2)
    return load_split((texts, labels), label_names=train.label_names)


def claim(note: str = "", **figures: float | tuple[float, float]) -> tuple[Claim, ...]:
    """State the figures of a document's table.

    Args:
        note: what to add to each name.
        **figures: by the name of a metric, a range as a pair; `validation_` before it
            means the rows that validate, see `measure_validation`.

    Returns:
        The claims.
    """
    found = []
    for key, value in figures.items():
        metric = key.removeprefix("validation_")
        name = ("validation " if key != metric else "") + metric_name(metric) + note
        low, high = value if isinstance(value, tuple) else (value, None)
        found.append(Claim(name, low, key, metric != "log_loss", to=high))
    return tuple(found)


def measure_validation(trial: "Trial", probabilities: Any) -> None:
    """Note the figures that the document reports of its validation rows.

    Args:
        trial: the trial; its `extra` gets `validation_accuracy` and `validation_f1`.
        probabilities: of its validation rows, float (n, 2).
    """
    from kbert import evaluation

    assert trial.validation is not None
    pair = trial.validation.labels, probabilities
    f1 = evaluation.precision_recall_f1(*pair, average="weighted")[2]
    trial.extra["validation_accuracy"] = evaluation.accuracy(*pair)
    trial.extra["validation_f1"] = f1


def write_predictions(trial: "Trial", model: "Model") -> None:
    """Predict the rows that have no labels, in their order, if there are any.

    Args:
        trial: the trial; `predictions.csv` goes into its folder.
        model: its model.
    """
    rows = trial.material.extra.get("unlabelled")
    if rows is None:
        return
    predict = trial.experiment.predict
    found = model.predict(rows) if predict is None else predict(trial, model, rows)
    names = trial.material.label_names
    table = [
        {"row": row, "label": names[one.argmax()], "probability": float(one.max())}
        for row, one in zip(rows.rows.tolist(), found, strict=True)
    ]
    trial.files["Predicted"] = trial.folder.write_csv("predictions.csv", table)
