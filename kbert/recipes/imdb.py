"""Fine-tune BERT on film reviews, mend what goes wrong, and refine the result.

Run:    python -m kbert.recipes.imdb --stage all --data FOLDER
Source: "Project: Fine-tune BERT" (A. Sethuraman), parts 1 to 3, which reports
        a test accuracy of 90.5 % with bert-base-uncased on IMDb, after refinement.
Result: recipes/imdb.md
"""

import functools
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kbert.recipes import command, imdb_data, memory, reviews_data
from kbert.recipes.experiment import Experiment, Settings, Variant
from kbert.recipes.reviews_data import claim

if TYPE_CHECKING:
    from kbert.models import Model
    from kbert.recipes.trial import Trial


def train(trial: "Trial") -> "Model":
    """Fine-tune on the training reviews; the refined stage goes on with a model."""
    import kbert

    settings = trial.settings
    if trial.options.memory:
        memory.note_memory(trial)
    kbert.set_seed(trial.seed)  # before the head is initialised
    trial.train = reviews_data.add_copies(trial.train, settings.augment, trial.seed)
    model = trial.previous or kbert.build_classifier(
        trial.preset,
        trial.label_names,
        max_length=settings.max_length,
        dropout=settings.dropout,
        precision=trial.flags.precision,
    )
    optimizer = kbert.adamw(
        settings.learning_rate, weight_decay=settings.weight_decay,
        schedule=settings.schedule, **trial.length,
    )  # fmt: skip
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    early_stopping = [trial.keep_best("val_loss")] if settings.patience else []
    model.fit(
        trial.train,
        validation_data=trial.validation,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        callbacks=trial.resumable(trial.progress, *early_stopping),
        verbose=0,
    )
    return model


def predict(trial: "Trial", model: "Model", rows: Any) -> Any:
    """Predict each text, or several views of it and their mean."""
    from kbert import augmentation, evaluation

    views = augmentation.make_views(rows.texts, trial.settings.views, seed=trial.seed)
    return evaluation.average_views([model.predict(view) for view in views])


def finish(trial: "Trial", model: "Model") -> None:
    """Measure the validation reviews too, and predict those without labels."""
    found = trial.probabilities  # the document validates on what it measures
    if not trial.flags.as_documented:
        found = predict(trial, model, trial.validation)
    reviews_data.measure_validation(trial, found)
    reviews_data.write_predictions(trial, model)


# The schedule is the Trainer's, which the source leaves as it is.
INITIAL = Settings(epochs=3, batch_size=8, learning_rate=2e-5, max_length=512,
                   schedule="linear", weight_decay=0.01)  # fmt: skip
DEBUGGED = replace(INITIAL, learning_rate=1e-5, schedule="cosine", accumulate=2,
                   dropout=0.3, patience=2)  # fmt: skip
REFINED = replace(DEBUGGED, epochs=1, views=5)  # "multiple predictions per sample"
# Its first report of the initial stage and its table of what was mended disagree.
FOUND = claim(validation_accuracy=0.85, validation_f1=0.87)
FOUND += claim(", first report", validation_accuracy=0.90, validation_f1=(0.89, 0.91))
MENDED = claim(validation_accuracy=(0.89, 0.91), validation_f1=0.90)
MENDED += claim(accuracy=0.89, f1_weighted=0.89, log_loss=0.26)
FINAL = claim(accuracy=0.905, f1_weighted=0.91, log_loss=0.22)
FINAL += claim(precision=0.90, recall=0.91)

EXPERIMENT = Experiment(
    name="imdb",
    title="IMDb film reviews",
    question="What do gentler training and several views of a text add to a BERT?",
    source="“Project: Fine-tune BERT”, parts 1 to 3",
    file="002_d5fbfae9369f63fc.txt",
    preset="bert_base_en_uncased",
    num_rows=imdb_data.NUM_DOCUMENTED[0],
    flag="stage",
    variants={
        "initial": Variant(settings=INITIAL, claims=FOUND, words="as first written"),
        "debugged": Variant(settings=DEBUGGED, claims=MENDED, words="gentler"),
        "refined": Variant(
            settings=REFINED,
            claims=FINAL,
            starts_from="debugged",
            words="one epoch more, several views of each text",
        ),
    },
    load=imdb_data.load_imdb,
    train=train,
    predict=predict,
    finish=finish,
    split="test",
    options=imdb_data.Options,
    summary=("accuracy", "f1_weighted", "log_loss"),
    defects=(imdb_data.OWN_VALIDATION,),
    remarks=imdb_data.REMARKS,
)

main = functools.partial(command.main, EXPERIMENT)

if __name__ == "__main__":
    sys.exit(main())
