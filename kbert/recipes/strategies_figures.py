"""What the strategies recipe's document printed, run by run, and where it is wrong."""

from collections.abc import Iterable
from dataclasses import replace

from kbert.recipes.experiment import Claim
from kbert.report.wording import metric_name

EXAMPLES = {  # questions 24 and 30
    "full": "An absolutely wonderful movie with great performances!",
    "final": "A genuinely moving film with outstanding performances.",
}
DEFECTS = {
    "full": (
        "Validation and test share no row; in the document they overlap, for each is "
        "cut from the same rows without the other.",
    ),
    "final": (
        "What is measured are test reviews that nothing was chosen with; in the "
        "document they are the validation reviews of all its studies.",
    ),
}
REMARKS = (
    "Losses are means over reviews; the document's are over batches.",
    "The document cuts the reviews of its studies 80 : 20 anew, without a seed; here "
    "all studies take theirs from one cut.",
    "After an early stop the best epoch's weights are kept; the document goes on with "
    "the last one's.",
)
KEYS = ("log_loss", "precision", "recall", "f1")
EPOCH_KEYS = ("val_loss", "val_precision", "val_recall", "val_f1")


def _claim(
    values: Iterable[float],
    keys: Iterable[str] = KEYS,
    of: str = "validation",
    epoch: int | None = None,
) -> list[Claim]:
    """Name figures by what they are, and by the epoch whose they are."""
    end, when = ("", "") if epoch is None else (f".{epoch}", f", epoch {epoch}")
    return [
        Claim(
            f"{of} {metric_name(key.removeprefix('val_'))}{when}",
            value,
            key + end,
            not key.endswith("loss"),
        )
        for key, value in zip(keys, values, strict=True)
    ]


def _claim_example(probability: float) -> list[Claim]:
    """Name what came of the document's own sentence, which is a praise."""
    return [
        Claim("class of the example (1: positive)", 1, "example class"),
        Claim("probability that it is positive", probability, "example probability"),
    ]


# Source: the printed output of questions 25 to 27; the order is that of KEYS.
_ROWS = {
    "freeze_0": (0.4247, 0.7638, 0.9870, 0.8612),
    "freeze_6": (0.2995, 0.8973, 0.8506, 0.8733),
    "freeze_10": (0.4179, 0.8092, 0.7987, 0.8039),
    "freeze_12": (0.6432, 0.6667, 0.8442, 0.7450),
    "rate_5e-5_5e-5": (0.4350, 0.7308, 0.9870, 0.8398),
    "rate_1e-5_5e-5": (0.4168, 0.7579, 0.9351, 0.8372),
    "rate_1e-5_1e-4": (0.3854, 0.8198, 0.9156, 0.8650),
    "rate_2e-6_1e-4": (0.5275, 0.7584, 0.7338, 0.7459),
    "batch_8": (0.4070, 0.8710, 0.8766, 0.8738),
    "batch_16": (0.3356, 0.8462, 0.9286, 0.8854),
    "batch_32": (0.3122, 0.8537, 0.9091, 0.8805),
}
# Question 21.
_FULL_EPOCHS = ((0.2919, 0.8814), (0.1735, 0.9441), (0.1070, 0.9732))
# Question 29; the order is that of EPOCH_KEYS.
_EARLY_EPOCHS = (
    (0.3658, 0.8291, 0.8506, 0.8397),
    (0.3070, 0.9021, 0.8377, 0.8687),
    (0.4064, 0.8774, 0.8831, 0.8803),
    (0.5336, 0.8710, 0.8766, 0.8738),
)

CLAIMS: dict[str, list[Claim]] = {
    "full": [
        *_claim((0.3460, 0.9193, 0.9073, 0.9133)),  # questions 22 and 23
        *_claim((0.9152,), ("accuracy",)),
        *(
            claim
            for epoch, values in enumerate(_FULL_EPOCHS, 1)
            for claim in _claim(values, ("loss", "accuracy"), "training", epoch)
        ),
        *_claim_example(0.9989),  # question 24
    ],
    **{name: _claim(values) for name, values in _ROWS.items()},
    "batch_16": [
        replace(claim, note="the very training of freeze_0; the document's two differ")
        for claim in _claim(_ROWS["batch_16"])
    ],
    "small_data": _claim((0.4103, 0.8841, 0.7922, 0.8356)),  # question 28
    "early_stopping": [
        *(
            claim
            for epoch, values in enumerate(_EARLY_EPOCHS, 1)
            for claim in _claim(values, EPOCH_KEYS, epoch=epoch)
        ),
        Claim("epochs until it stops", 4, "epochs run", None),
    ],
    "final": [  # question 30
        *_claim((0.5654, 0.8111, 0.9481, 0.8743), of="test"),
        *_claim_example(0.9945),
    ],
}
