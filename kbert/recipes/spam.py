"""Tell spam from other text messages with a frozen BERT, and with one that trains.

Run:    python -m kbert.recipes.spam --data FILE --strategy frozen
Source: "Fine-Tuning Bert For Classification", which reports an F1 of .86 for spam and
        an accuracy of .96 with a frozen bert-base-uncased on the SMS Spam Collection.
Result: recipes/spam.md
"""

import functools
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from kbert.recipes import command
from kbert.recipes.experiment import Claim, Experiment, Settings, Variant
from kbert.recipes.spam_data import REMARKS, STUDY, load_spam

if TYPE_CHECKING:
    from kbert.models import Model
    from kbert.recipes.trial import Trial


def train(trial: "Trial") -> "Model":
    """Train a head of 512 units, and as much of the encoder as the strategy says."""
    import kbert

    settings = trial.settings
    if settings.pooling == "pooler" and not trial.preset.config.has_pooler:
        raise ValueError(
            f"--strategy {trial.name} reads the encoder's pooler, and "
            f"{trial.preset.name} has none. Choose frozen_tuned or full_tuned."
        )
    kbert.set_seed(trial.seed)  # before the head is initialised
    model = kbert.build_classifier(
        trial.preset,
        trial.label_names,
        head="mlp",  # dense 512, ReLU, dropout, dense; trained from its log-softmax
        dropout=settings.dropout,
        pooling=settings.pooling,
        max_length=settings.max_length,
        precision=trial.flags.precision,
    )
    if trial.name.startswith("frozen"):
        kbert.freeze(model)
    elif trial.name == "partial":
        kbert.freeze(model, trial.preset.config.num_layers // 2, embeddings=True)
    model.backbone.frozen_dropout = trial.flags.as_documented  # else it runs once
    optimizer = kbert.adamw(
        settings.learning_rate,
        schedule=settings.schedule,
        warmup=settings.warmup,
        weight_decay=settings.weight_decay,
        decay_all=True,
        global_clipnorm=None,
        **trial.length,
    )
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(
        trial.train,
        class_weight="balanced",
        validation_data=trial.validation,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        callbacks=trial.resumable(trial.progress),
        verbose=0,
    )
    return model


SETTINGS = Settings(
    epochs=10, batch_size=32, learning_rate=1e-5, max_length=25, weight_decay=0.01,
    pooling="pooler",
)  # fmt: skip
# Source: the document's table; precision, recall and F1.
REPORT = {".ham": (0.98, 0.97, 0.98), ".spam": (0.81, 0.90, 0.86),
          "_macro": (0.90, 0.94, 0.92), "_weighted": (0.96, 0.96, 0.96)}  # fmt: skip
CLAIMS = (
    Claim("accuracy", 0.96, "accuracy"),
    *(Claim(f"{name}, {row[1:]}".replace("f1", "F1"), value, name + row)
      for row, values in REPORT.items()
      for name, value in zip(("precision", "recall", "f1"), values, strict=True)),
    *STUDY,
)  # fmt: skip
FROZEN = Variant(
    settings=SETTINGS, claims=CLAIMS, words="only the head trains",
    defects=("The frozen encoder runs once, without the document's dropout.",),
    unlike="no dropout in the frozen encoder",
)  # fmt: skip
NAMED = Variant(settings=SETTINGS, is_documented=False)
TUNED = replace(NAMED, words="kbert's own settings")
HEAD = replace(SETTINGS, pooling="mean", learning_rate=1e-3)
ALL = replace(HEAD, epochs=4, learning_rate=5e-5, schedule="linear", warmup=0.1)

EXPERIMENT = Experiment(
    name="spam",
    title="SMS spam",
    question="How well does a frozen BERT encoder with a new head tell spam from other "
    "text messages, and what does training the encoder add?",
    source="“Fine-Tuning Bert For Classification”",
    file="000_02b1fca867ee17ed.txt",
    preset="bert_base_en_uncased",
    flag="strategy",
    variants={
        "frozen": FROZEN,
        "partial": replace(NAMED, words="the upper half of the layers trains"),
        "full": replace(NAMED, words="everything trains"),
        "frozen_tuned": replace(TUNED, settings=HEAD),
        "full_tuned": replace(TUNED, settings=ALL),
    },
    load=load_spam,
    train=train,
    split="test",
    summary=("accuracy", "f1", "f1_macro", "log_loss"),
    remarks=REMARKS,
)

main = functools.partial(command.main, EXPERIMENT)

if __name__ == "__main__":
    sys.exit(main())
