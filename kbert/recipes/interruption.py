"""Ctrl-C in a recipe: what was trained stays."""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kbert.callbacks import Progress
    from kbert.models import Model
    from kbert.report import RunFolder


@contextlib.contextmanager
def keep_if_interrupted(
    folder: "RunFolder", config: Any, model: "Model", progress: "Progress"
) -> Iterator[None]:
    """Save the model as trained so far when the block is interrupted.

    When it fails with nothing written, the folder goes again.

    Args:
        folder: gets `model.keras`, `history.csv` and `config.json`.
        config: the recipe's dataclass.
        model: as it is when the interrupt comes.
        progress: the epochs so far.

    Raises:
        KeyboardInterrupt: again, with a sentence that says where the model is.
    """
    try:
        yield
    except KeyboardInterrupt:
        folder.save_model(model)
        folder.write_csv("history.csv", progress.epochs)
        folder.write_json("config.json", to_json(config))
        when = "after training"
        if not progress.finished:
            when = f"in epoch {len(progress.epochs) + 1} of {progress.params['epochs']}"
        sentence = (
            f"Stopped {when}; the model as trained so far (model.keras) and its "
            f"history (history.csv) are in {folder.path}."
        )
        raise KeyboardInterrupt(sentence) from None
    except Exception:
        folder.release()
        raise


def to_json(config: Any) -> dict[str, Any]:
    """Return a recipe's settings as JSON values.

    Args:
        config: the recipe's dataclass.

    Returns:
        Field name to value; paths as strings.
    """
    return {
        name: value if isinstance(value, bool | int | float | None) else str(value)
        for name, value in dataclasses.asdict(config).items()
    }
