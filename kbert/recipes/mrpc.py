"""Fine-tune BERT to tell whether two sentences mean the same.

Run:    python -m kbert.recipes.mrpc --data FOLDER --variant baseline
Source: "Fine-Tuning BERT for Sequence Classification", which reports evaluation losses
        of .54 to 1.07 with bert-base-uncased on GLUE's MRPC, and no accuracy.
Result: recipes/mrpc.md
"""

import functools
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from kbert.recipes import command
from kbert.recipes.experiment import Claim, Experiment, Settings, Variant
from kbert.recipes.mrpc_data import PAD, REMARKS, TIMED, load_pairs, write_pairs

if TYPE_CHECKING:
    from kbert.models import Model
    from kbert.recipes.trial import Trial


def train(trial: "Trial") -> "Model":
    """Fine-tune as the Trainer does by default."""
    import kbert

    settings = trial.settings
    kbert.set_seed(trial.seed)  # before the head is initialised
    model = trial.previous or kbert.build_classifier(
        trial.preset,
        trial.label_names,
        dropout=settings.dropout,
        max_length=settings.max_length,
        precision=trial.flags.precision,
    )
    optimizer = kbert.adamw(
        settings.learning_rate,
        schedule=settings.schedule,
        warmup=settings.warmup,
        global_clipnorm=1.0,
        epsilon=1e-8,
        weight_decay=settings.weight_decay,
        **trial.length,
    )
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(
        trial.train,
        validation_data=trial.validation,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        callbacks=trial.resumable(trial.progress, trial.note_loss(10)),
        verbose=0,
    )
    return model


def document(
    epochs: int, batch_size: int, rate: float, loss: float, speed: float, first: float,
    *more: Claim, after: str | None = None, preset: str | None = None,
) -> Variant:  # fmt: skip
    """Put a run of the document into a variant."""
    return Variant(
        settings=Settings(
            epochs=epochs, batch_size=batch_size, learning_rate=rate, max_length=512,
            schedule="linear", warmup=500, weight_decay=0.01,
        ),
        claims=(
            Claim("evaluation loss", loss, "log_loss", False),
            Claim("evaluated pairs a second", speed, "measured rows a second", None,
                  PAD),
            Claim("training loss, first ten steps", first, "loss at step 10", None),
            *more,
        ),
        preset=preset,
        starts_from=after,
        starts_from_is_defect=after is not None,
        defects=after and (f"The document goes on from the model of {after}.",) or (),
    )  # fmt: skip


# Source: the Trainer's own output.
TRAINED = (
    Claim("training loss, all steps", 0.3942, "train_loss", False),
    Claim("seconds of training", 1018.4, "train_seconds", None, TIMED),
    Claim("trained pairs a second", 10.8, "train_samples_per_second", None, TIMED),
)
DOCUMENTED = {
    "baseline": document(3, 8, 5e-5, 0.6390, 36.7, 0.7802, *TRAINED),
    "learning_rate": document(3, 16, 5e-5, 0.5364, 34.6, 0.7369),
    "batch_size": document(3, 8, 2e-5, 0.9593, 35.5, 0.1794, after="learning_rate"),
    "epochs": document(5, 16, 2e-5, 1.0690, 34.4, 0.0006, after="batch_size"),
    "large": document(3, 8, 2e-5, 0.5477, 10.7, 0.8724, preset="bert_large_en_uncased"),
}
NAMED = replace(DOCUMENTED["baseline"], claims=(), is_documented=False)
TUNED = replace(NAMED.settings, batch_size=16, learning_rate=1e-4, warmup=0.1)

EXPERIMENT = Experiment(
    name="mrpc",
    title="Paraphrases (MRPC)",
    question="Can a fine-tuned BERT encoder tell sentences that mean the same from "
    "sentences that only look alike, and which settings help?",
    source="“Fine-Tuning BERT for Sequence Classification”",
    file="001_f688c0509b47aa14.txt",
    preset="bert_base_en_uncased",
    variants={
        **DOCUMENTED,
        "roberta": replace(NAMED, preset="roberta_base_en"),
        "distilbert": replace(NAMED, preset="distil_bert_base_en_uncased"),
        "tuned": replace(NAMED, settings=TUNED, words="kbert's own settings"),
    },
    load=load_pairs,
    train=train,
    finish=write_pairs,
    remarks=REMARKS,
)

main = functools.partial(command.main, EXPERIMENT)

if __name__ == "__main__":
    sys.exit(main())
