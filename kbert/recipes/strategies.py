"""Fine-tune BERT on film reviews in many ways, to see which of them matter.

Run:    python -m kbert.recipes.strategies --study freezing --data FOLDER
Source: notebook "Fine-tuning BERT in PyTorch", questions 15 to 30, which reports a
        validation F1 of .91 with 20,000 IMDb reviews and of .75 to .89 with 1,000.
Result: recipes/strategies.md
"""

import functools
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from kbert.recipes import command
from kbert.recipes.experiment import Experiment, Settings, Variant
from kbert.recipes.strategies_data import load_reviews
from kbert.recipes.strategies_figures import CLAIMS, DEFECTS, EXAMPLES, REMARKS

if TYPE_CHECKING:
    from kbert.models import Model
    from kbert.recipes.trial import Trial


def train(trial: "Trial") -> "Model":
    """Fine-tune on the training reviews, with as many layers frozen as is asked."""
    import kbert

    settings, model = trial.settings, trial.previous
    kbert.set_seed(trial.seed)  # before the head is initialised
    if model is None:
        model = kbert.build_classifier(
            trial.preset, trial.label_names, dropout=settings.dropout,
            max_length=settings.max_length, precision=trial.flags.precision,
        )  # fmt: skip
    kbert.unfreeze(model)  # one that was trained before
    if trial.name == "staged_head":
        kbert.freeze(model)  # embeddings and pooler too
    elif settings.frozen:
        kbert.freeze(model, layers=settings.frozen)
    optimizer = kbert.adamw(
        settings.learning_rate, head_learning_rate=settings.head_learning_rate,
        weight_decay=settings.weight_decay, decay_all=True, global_clipnorm=1.0,
    )  # fmt: skip
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    callbacks = [trial.progress]
    if settings.patience:
        callbacks = [trial.score_epochs(model), trial.progress, trial.keep_best()]
    model.fit(
        trial.train, validation_data=trial.validation, epochs=settings.epochs,
        batch_size=settings.batch_size, verbose=0,
        callbacks=trial.resumable(*callbacks),
    )  # fmt: skip
    return model


def predict_example(trial: "Trial", model: "Model") -> None:
    """Predict the document's own sentence, and count the epochs."""
    trial.extra["epochs run"] = len(trial.progress.epochs)
    if text := EXAMPLES.get(trial.name):
        positive = float(model.predict([text])[0, 1])
        found = int(positive > 0.5)
        trial.extra |= {"example class": found, "example probability": positive}
        trial.files["Example"] = f"positive with probability {positive:.4f}: {text}"


STUDY = Settings(
    epochs=2, batch_size=16, learning_rate=2e-5, max_length=256, weight_decay=0.01,
    rows=1_000, validation_rows=300,
)  # fmt: skip
RATES = ((5e-5, 5e-5), (1e-5, 5e-5), (1e-5, 1e-4), (2e-6, 1e-4))  # encoder, head
SETTINGS = {
    "full": replace(STUDY, epochs=3, rows=None, validation_rows=None),
    **{f"freeze_{n}": replace(STUDY, frozen=n) for n in (0, 6, 10, 12)},
    **{f"rate_{a:.0e}_{b:.0e}".replace("-0", "-"):
       replace(STUDY, learning_rate=a, head_learning_rate=b) for a, b in RATES},
    **{f"batch_{n}": replace(STUDY, batch_size=n) for n in (8, 16, 32)},
    "small_data": replace(STUDY, rows=300, epochs=3, dropout=0.4),
    "early_stopping": replace(STUDY, epochs=10, dropout=0.3, patience=2),
    "final": replace(STUDY, epochs=3),
}  # fmt: skip
VARIANTS = {
    name: Variant(
        settings=settings, claims=CLAIMS[name], defects=DEFECTS.get(name, ()),
        split="test" if name == "final" else None,
    ) for name, settings in SETTINGS.items()
} | {  # questions 15 and 16, which show how and train nothing: the rates are ours
    "staged_head": Variant(settings=replace(STUDY, learning_rate=1e-3),
                           is_documented=False, words="the head on a frozen encoder"),
    "staged_all": Variant(settings=STUDY, is_documented=False, words="then everything",
                          starts_from="staged_head"),
}  # fmt: skip
STUDIES = {"freezing": "freeze", "learning_rates": "rate", "batch_size": "batch"}

EXPERIMENT = Experiment(
    name="strategies",
    title="Fine-tuning strategies",
    question="What do freezing, learning rates, batch size, dropout and early stopping "
    "change when BERT learns from few film reviews?",
    source="notebook “Fine-tuning BERT in PyTorch”, questions 15 to 30",
    file="004_6eed2d759a9233ed.txt",
    preset="bert_base_en_uncased",
    num_rows=20_000,
    flag="study",
    default="final",
    variants=VARIANTS,
    groups={
        study: [name for name in VARIANTS if name.startswith(prefix)]
        for study, prefix in (STUDIES | {"staged": "staged"}).items()
    },
    load=load_reviews,
    train=train,
    finish=predict_example,
    remarks=REMARKS,
    summary=("f1", "precision", "recall", "log_loss"),
)

main = functools.partial(command.main, EXPERIMENT)

if __name__ == "__main__":
    sys.exit(main())
