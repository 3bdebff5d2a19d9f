"""Ctrl-C while a model trains: what was trained stays."""

import contextlib
import shlex
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from kbert.report.folder import RunFolder
from kbert.writing import undisturbed

if TYPE_CHECKING:
    from kbert.callbacks import Progress


@contextlib.contextmanager
def keep_if_interrupted(
    folder: RunFolder,
    progress: "Progress",
    save: Callable[[], None],
    describe_more: Callable[[], str] = str,
) -> Iterator[None]:
    """Save the model as trained so far when the block is interrupted.

    When the block fails with nothing written, the folder goes again.

    Args:
        folder: of the run.
        progress: of the training; it knows the model once that trains.
        save: writes `model.keras`, `history.csv` and `config.json`.
        describe_more: says, after saving, what else matters; by default nothing.

    Raises:
        KeyboardInterrupt: again, with a sentence that says where the model is.
    """
    try:
        yield
    except KeyboardInterrupt:
        if progress.model is None:  # training had not begun
            folder.release()
            raise
        with contextlib.suppress(KeyboardInterrupt), undisturbed():
            save()
        when = "after training"
        if not progress.finished:
            when = f"in epoch {len(progress.epochs) + 1} of {progress.params['epochs']}"
        sentence = (
            f"Stopped {when}; the model as trained so far (model.keras) and its "
            f"history (history.csv) are in {folder.path}.{describe_more()}"
        )
        if (folder.path / "report.json").is_file():
            command = f"kbert report {shlex.quote(str(folder.path))}"
            sentence += f" The report is not whole; {command} writes what there is."
        raise KeyboardInterrupt(sentence) from None
    except Exception:
        folder.release()
        raise
