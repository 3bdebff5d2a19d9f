"""Fine-tune DistilBERT to tell praise from blame in Amazon's customer reviews.

Run:    python -m kbert.recipes.amazon --data FOLDER
Source: "Project: Fine-tune BERT" (A. Sethuraman), part 4, which reports an accuracy of
        92.3 % with distilbert-base-uncased on Amazon reviews.
Result: recipes/amazon.md
"""

import functools
import sys
from typing import TYPE_CHECKING

from kbert.recipes import command, reviews_data
from kbert.recipes.amazon_data import load_amazon
from kbert.recipes.experiment import Experiment, Settings, Variant
from kbert.recipes.reviews_data import claim

if TYPE_CHECKING:
    from kbert.models import Model
    from kbert.recipes.trial import Trial


def train(trial: "Trial") -> "Model":
    """Fine-tune on the training reviews, and keep the epoch of the least loss."""
    import keras

    import kbert

    settings = trial.settings
    kbert.set_seed(trial.seed)  # before the head is initialised

    def build_head(features):  # of transformers' DistilBERT: one layer more
        hidden = keras.layers.Dense(features.shape[-1], activation="relu")(features)
        hidden = keras.layers.Dropout(settings.dropout)(hidden)
        return keras.layers.Dense(len(trial.label_names), "softmax")(hidden)

    model = kbert.build_classifier(
        trial.preset,
        trial.label_names,
        head=build_head,
        max_length=settings.max_length,
        precision=trial.flags.precision,  # mixed, where the device gains by it
    )
    model.compile(
        kbert.adamw(
            settings.learning_rate,
            schedule=settings.schedule,
            weight_decay=settings.weight_decay,
            **trial.length,
        ),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    model.fit(
        trial.train,
        validation_data=trial.validation,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        callbacks=trial.resumable(trial.progress, trial.keep_best("val_loss")),
        verbose=0,
    )
    return model


# "Batch size = 16 (gradient accumulation used)" is read as four batches of 4. The
# source states no patience, no weight decay and no length: two epochs, and those of its
# first part.
DOCUMENTED = Settings(
    epochs=4,
    batch_size=4,
    accumulate=4,
    learning_rate=1e-5,
    max_length=512,
    schedule="cosine",
    weight_decay=0.01,
    dropout=0.3,
    patience=2,
)

EXPERIMENT = Experiment(
    name="amazon",
    title="Amazon customer reviews",
    question="How well does a fine-tuned DistilBERT tell praise from blame in what "
    "customers write?",
    source="“Project: Fine-tune BERT”, part 4",
    file="002_d5fbfae9369f63fc.txt",
    preset="distil_bert_base_en_uncased",
    variants={
        "documented": Variant(
            settings=DOCUMENTED,
            claims=claim(accuracy=0.923, f1_weighted=0.93, log_loss=0.18)
            + claim(precision=0.92, recall=0.93),
        ),
    },
    load=load_amazon,
    train=train,
    finish=reviews_data.write_predictions,
    split="test",
    summary=("accuracy", "f1_weighted", "log_loss"),
    remarks=(
        "The document names no length, decay of weights or patience; 512 tokens, 0.01 "
        "and 2 epochs are taken. Its batch of 16 by accumulation is read as 4 times 4.",
        "The head starts from Keras's usual weights (Glorot), the document's from a "
        "normal distribution of 0.02.",
    ),
    mixed_precision=True,
)

main = functools.partial(command.main, EXPERIMENT)

if __name__ == "__main__":
    sys.exit(main())
