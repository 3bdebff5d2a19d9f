"""Where a recipe's documented data is found when none is named."""

import contextlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import kbert
from kbert.presets import hub_answers

if TYPE_CHECKING:
    from datasets import DatasetDict

SAMPLES = Path(kbert.__file__).parent / "samples"


def find_kaggle_competition(
    competition: str, *, timeout_seconds: float = 20.0
) -> Path | None:
    """Find a Kaggle competition's files: in its cache, or tried once over the network.

    Kaggle gives competition data only to accounts that accepted its rules, so without
    credentials nothing is asked.

    Args:
        competition: its name, as in the address of its page.
        timeout_seconds: how long the download may take.

    Returns:
        The folder with `train.csv`, or `None`.
    """
    from kagglehub import config

    cached = Path(config.get_cache_folder()) / "competitions" / competition
    if (cached / "train.csv").is_file():
        return cached
    try:
        if config.get_kaggle_credentials() is None:
            return None
    except (OSError, ValueError):  # damaged credentials: as good as none
        return None
    return _download(competition, timeout_seconds)


def _download(competition: str, timeout_seconds: float) -> Path | None:
    """Ask Kaggle in a thread that is given up when it takes too long."""
    import kagglehub

    found: list[Path] = []

    def ask() -> None:
        # Whatever goes wrong, the bundled sample takes over and the console says so.
        with contextlib.suppress(Exception):
            found.append(Path(kagglehub.competition_download(competition)))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(timeout_seconds)
    return found[0] if found and (found[0] / "train.csv").is_file() else None


def find_hub_dataset(
    repository: str, configuration: str | None = None
) -> "DatasetDict | None":
    """Find a data set of the Hugging Face hub: in its cache, or fetched once.

    Args:
        repository: `owner/name`.
        configuration: which of its data sets, such as `mrpc` of GLUE.

    Returns:
        Its splits; `None` where the hub is out of reach and nothing is cached.
    """
    # Whatever goes wrong, the bundled sample takes over and the console says so.
    with contextlib.suppress(Exception):
        return _load_dataset(repository, configuration, cached_only=True)
    if hub_answers():
        with contextlib.suppress(Exception):
            return _load_dataset(repository, configuration, cached_only=False)
    return None


def _load_dataset(
    repository: str, configuration: str | None, *, cached_only: bool
) -> "DatasetDict":
    """Call the library; the boundary that tests replace."""
    import datasets

    mode = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = mode or cached_only
    try:
        return datasets.load_dataset(repository, configuration)
    finally:
        datasets.config.HF_HUB_OFFLINE = mode
