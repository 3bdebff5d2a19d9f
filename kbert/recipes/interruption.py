"""Ctrl-C in a recipe: what was trained stays."""

import contextlib
from collections.abc import Iterator

from kbert.recipes.trial import Trial
from kbert.writing import undisturbed


@contextlib.contextmanager
def keep_if_interrupted(trial: Trial) -> Iterator[None]:
    """Save the model as trained so far when the block is interrupted.

    When it fails with nothing written, the folder goes again.

    Args:
        trial: its folder gets `model.keras`, `history.csv` and `config.json`.

    Raises:
        KeyboardInterrupt: again, with a sentence that says where the model is.
    """
    folder, progress = trial.folder, trial.progress
    try:
        yield
    except KeyboardInterrupt:
        if progress.model is None:  # training had not begun
            folder.release()
            raise
        with contextlib.suppress(KeyboardInterrupt), undisturbed():
            folder.save_model(progress.model)
            folder.write_csv("history.csv", progress.epochs)
            folder.write_json("config.json", trial.to_json(progress.model))
        when = "after training"
        if not progress.finished:
            when = f"in epoch {len(progress.epochs) + 1} of {progress.params['epochs']}"
        sentence = (
            f"Stopped {when}; the model as trained so far (model.keras) and its "
            f"history (history.csv) are in {folder.path}."
        )
        if trial.backup_folder.exists():
            sentence += (
                f" With --out {folder.path} the same command goes on from there."
            )
        raise KeyboardInterrupt(sentence) from None
    except Exception:
        folder.release()
        raise
