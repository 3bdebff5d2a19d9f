"""From a name to a preset, and what to take when none was named."""

import os
from pathlib import Path

from kbert.presets import files
from kbert.presets.embedded import (
    EMBEDDED_PRESET,
    find_embedded_folder,
    load_embedded_preset,
)
from kbert.presets.fetch import (
    fetch_kaggle_preset,
    fetch_repository,
    find_kaggle_preset,
)
from kbert.presets.hugging_face import load_hugging_face_folder
from kbert.presets.keras_hub import load_keras_hub_folder
from kbert.presets.names import PresetInfo, build_unknown_name_error, find_preset
from kbert.presets.preset import Preset, PresetError

__all__ = [
    "EMBEDDED_PRESET",
    "is_cached",
    "is_same_preset",
    "load_preset",
    "resolve_preset",
]


def load_preset(name: str | os.PathLike[str] | Preset) -> Preset:
    """Load a preset's configuration, vocabulary and list of weights.

    The weights themselves stay on disk until `Preset.load_weights`, but are known to
    be complete and of the right shapes.

    Args:
        name: a name (see `kbert.list_presets`), `hf://owner/name`,
            `kaggle://owner/model/keras/variation/version`, a folder that KerasHub or
            transformers wrote, or a loaded preset, which is returned as it is. A known
            name wins over a folder of that name; write `./name` for the folder.

    Returns:
        The preset.

    Raises:
        PresetError: the name is unknown, the preset cannot be fetched (`unreachable`
            is then true), or its files are incomplete, damaged or of another kind.
    """
    if isinstance(name, Preset):
        return name
    if not isinstance(name, str):
        return _load_folder(Path(name))
    info = find_preset(name)
    if info is not None:
        return _load_named(name, info)
    if name.startswith("hf://"):
        return _load_repository(name.removeprefix("hf://"), name)
    if name.startswith("kaggle://"):
        return _load_kaggle(name, name.removeprefix("kaggle://"))
    folder = Path(name).expanduser()
    if not name or not folder.exists():
        raise build_unknown_name_error(name)
    return _load_folder(folder)


def resolve_preset(
    explicit: str | os.PathLike[str] | Preset | None, documented: str
) -> tuple[Preset, str | None]:
    """Choose between the preset that was asked for, the documented and the embedded.

    Args:
        explicit: what the user asked for; it works or it is an error.
        documented: what to take if the user asked for nothing.

    Returns:
        The preset, and one sentence that says so if the embedded preset stands in for
        the documented one, which could not be fetched; else `None`.

    Raises:
        PresetError: the explicit preset cannot be used; or the documented one cannot
            for another reason than the network; or the embedded one is missing too.
    """
    if explicit is not None:
        return load_preset(explicit), None
    try:
        return load_preset(documented), None
    except PresetError as error:
        if not error.unreachable:
            raise
        return _load_substitute(documented, error)


def _load_substitute(documented: str, error: PresetError) -> tuple[Preset, str]:
    try:
        preset = load_embedded_preset()
    except PresetError as missing:
        raise PresetError(
            f"the documented preset {documented!r} could not be fetched, and {missing}",
            unreachable=True,
        ) from error
    return preset, (
        f"The documented preset {documented!r} could not be fetched, so the smaller "
        f"embedded preset {EMBEDDED_PRESET!r} is used; its results do not compare with "
        "the documented ones."
    )


def _load_named(name: str, info: PresetInfo) -> Preset:
    if info.name == EMBEDDED_PRESET:
        return load_embedded_preset()  # its alias is the same file, byte by byte
    if name != info.name:
        return _load_repository(info.aliases[0], name)
    return _load_kaggle(name, info.kaggle_handle, info)


def _load_repository(repository: str, name: str) -> Preset:
    return _load_folder(
        fetch_repository(repository, name),
        name=f"hf://{repository}",
        source=f"the Hugging Face repository {repository}",
    )


def _load_kaggle(name: str, handle: str, info: PresetInfo | None = None) -> Preset:
    return load_keras_hub_folder(
        fetch_kaggle_preset(handle, name),
        name=name,
        source=f"the KerasHub preset {handle} on Kaggle",
        activation=info.activation if info else None,
        pooling=info.pooling if info else None,
        accents_as_trained=info is not None,
    )


def _load_folder(
    folder: Path, *, name: str | None = None, source: str | None = None
) -> Preset:
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise PresetError(
            f"preset {str(folder)!r} {what}; pass the folder that holds config.json, "
            "the weights and the vocabulary."
        )
    table = files.read_json(folder / "config.json")
    load = (
        load_keras_hub_folder
        if "registered_name" in table or "class_name" in table
        else load_hugging_face_folder
    )
    return load(folder, name=name, source=source)


def is_cached(name: str) -> bool:
    """Whether a named preset can be loaded without a network.

    Args:
        name: KerasHub's name of it; its aliases are kept apart.

    Returns:
        Whether its files are installed, or in the cache of `kagglehub`.
    """
    info = find_preset(name)
    if info is None:
        return False
    if info.name == EMBEDDED_PRESET:
        return find_embedded_folder() is not None
    return find_kaggle_preset(info.kaggle_handle)


def is_same_preset(one: str, other: str) -> bool:
    """Whether two names mean the same checkpoint.

    Args:
        one: a name, an alias, or `hf://` and an alias.
        other: another.

    Returns:
        Whether they are equal, or stand in one row of the table.
    """
    infos = [find_preset(name.removeprefix("hf://")) for name in (one, other)]
    return one == other or (infos[0] is not None and infos[0] == infos[1])
