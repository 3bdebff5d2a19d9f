"""Records of trials in a repository: small JSON files, named by what was run."""

import importlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kbert.recipes import comparison
from kbert.recipes.__main__ import RECIPES
from kbert.recipes.experiment import Experiment
from kbert.recipes.outcome import SCHEMA

HERE = Path(__file__).parent
RESULTS = "results"
BUILDS = "builds"
# Paths from a root: what is behind the last stroke says enough.
_PATH = re.compile(r"""(?<![\w:/.])(?:[A-Za-z]:[\\/]|~?/)(?:[^\s/\\'"]+[/\\])+""")


@dataclass(frozen=True)
class Results:
    """The records of one experiment, by file name."""

    experiment: Experiment
    files: Mapping[str, str]

    @property
    def records(self) -> dict[str, dict[str, Any]]:
        """The records by file name."""
        return {name: json.loads(text) for name, text in self.files.items()}


def without_paths(value: Any) -> Any:
    """Cut the paths of a machine down to their last names.

    Args:
        value: JSON values.

    Returns:
        The same without folders in front of names.
    """
    if isinstance(value, str):
        return _PATH.sub("", value)
    if isinstance(value, Mapping):
        return {key: without_paths(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [without_paths(one) for one in value]
    return value


def name_record(experiment: Experiment, record: Mapping[str, Any]) -> str:
    """Name a record by what was run.

    Args:
        experiment: of the record.
        record: of a trial.

    Returns:
        `<recipe>-<variant>-<preset>`, what else was set, and the seed.
    """
    return f"{name_row(experiment, record)}-seed{record['seed']}"


def name_row(experiment: Experiment, record: Mapping[str, Any]) -> str:
    """Name what trials that differ by their seed alone have in common.

    Args:
        experiment: of the record.
        record: of a trial.

    Returns:
        `<recipe>-<variant>-<preset>` and what else was set.
    """
    parts = [record["recipe"], record["variant"], record["preset"]["name"]]
    flags = comparison.read_flags(record["command"])
    said_apart = (*comparison.ASIDE, "data", "preset", "device", "as-documented")
    for said in (*said_apart, experiment.flag):
        flags.pop(said, None)
    if comparison.repeats_defects(experiment, record):
        parts.append("documented")
    if limit := flags.pop("limit", None):
        parts.append(f"limit{limit}")
    parts += [flag + value for flag, value in flags.items()]
    if record["device"]["kind"] != "cpu":
        parts.append(record["device"]["kind"])
    return re.sub(r"[^\w.-]+", "_", "-".join(parts), flags=re.ASCII)


def find_experiments() -> dict[str, Experiment]:
    """Find the documented experiments.

    Returns:
        By name, in the order in which `python -m kbert.recipes` lists them.
    """
    return {
        name: importlib.import_module(f"kbert.recipes.{name}").EXPERIMENT
        for name in RECIPES
    }


def read_results(root: Path) -> list[Results]:
    """Read the records.

    Args:
        root: folder of the cards.

    Returns:
        Those of each experiment, also where there are none.

    Raises:
        ValueError: a file is no record of a known experiment and variant.
    """
    experiments = find_experiments()
    files: dict[str, dict[str, str]] = {name: {} for name in experiments}
    for path in sorted((root / RESULTS).glob("*.json")):
        text = path.read_text("utf-8")
        files[_check(path, text, experiments)][path.name] = text
    return [Results(one, files[name]) for name, one in experiments.items()]


def read_builds(root: Path) -> dict[str, dict[str, Any]]:
    """Read the records of documented encoders that were built with random weights.

    Args:
        root: folder of the cards.

    Returns:
        By preset.
    """
    paths = sorted((root / BUILDS).glob("*.json"))
    return {path.stem: json.loads(path.read_text("utf-8")) for path in paths}


def _check(path: Path, text: str, experiments: Mapping[str, Experiment]) -> str:
    """Return the recipe that a record is of."""
    try:
        record = json.loads(text)
        experiment = experiments[record["recipe"]]
        is_known = record["schema"] == SCHEMA
        is_known &= record["variant"] in experiment.variants
        name = name_record(experiment, record)
    except (ValueError, KeyError, TypeError):
        is_known = False
    if not is_known:
        raise ValueError(
            f"{path} is no record of a recipe and a variant that kbert has; remove it, "
            "or run the recipe again with --card."
        )
    if path.stem != name:
        raise ValueError(
            f"{path} holds what belongs into {name}.json; rename it, or run the recipe "
            "again with --card."
        )
    return experiment.name
