"""Fetching presets from the Hugging Face hub and from Kaggle, into their own caches.

The cache is looked at first; what lies there complete needs no network. Otherwise the
hub is asked once, briefly, whether it answers at all, because the libraries below try
again for minutes where there is no network.
"""

import contextlib
import os
import re
import ssl
import threading
import urllib.error
import urllib.request
from pathlib import Path

from kbert.presets import files
from kbert.presets.errors import PresetError
from kbert.presets.keras_hub import tokenizer_assets

PROBE_SECONDS = 5.0  # how long a hub may take to answer at all

_OFFLINE_VARIABLES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
_KAGGLE = "https://www.kaggle.com"

_SNAPSHOT_FILES = (
    "config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "model-*-of-*.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "1_Pooling/config.json",
    # A repository may hold a KerasHub preset just as well.
    "model.weights.h5",
    "task.json",
    "assets/tokenizer/*",
)
_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_WEIGHTS = (_SINGLE, _INDEX, "model.weights.h5")
_VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json")
_CHECKED_FILES = ("config.json", *_WEIGHTS, *_VOCABULARIES)


def fetch_repository(repository: str, preset: str) -> Path:
    """Fetch a checkpoint from the Hugging Face hub, or find it in its cache.

    Args:
        repository: `owner/name`, or `owner/name@revision`.
        preset: what the user called it, for messages.

    Returns:
        The folder in the cache of `huggingface_hub`.

    Raises:
        PresetError: there is no such repository, or it could not be reached.
    """
    name, _, revision = repository.partition("@")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise PresetError(
            f"a Hugging Face repository is written hf://owner/name; "
            f"received {preset!r}."
        )
    cached = _find_snapshot(name, revision or None)
    if cached is not None:
        return cached
    _require_network(preset, _hugging_face_endpoint())
    try:
        return _download_snapshot(name, revision or None, cached_only=False)
    except Exception as error:  # the library raises errors of six other libraries
        raise _failed_fetch(preset, error) from error


def _find_snapshot(name: str, revision: str | None) -> Path | None:
    """Return the cached folder if it has weights, configuration and vocabulary."""
    try:
        folder = _download_snapshot(name, revision, cached_only=True)
    except Exception:  # not cached, in whatever way the library says so
        return None
    return folder if _is_complete(folder) else None


def _is_complete(folder: Path) -> bool:
    """Return whether a snapshot has configuration, weights and vocabulary.

    Another program may have fetched only what it needed, and a download may have been
    broken off.
    """
    present = {file for file in _CHECKED_FILES if (folder / file).is_file()}
    if _INDEX in present and _SINGLE not in present:
        try:
            files.shard_files(folder / _INDEX)
        except PresetError:
            return False
    return "config.json" in present and all(
        present.intersection(group) for group in (_WEIGHTS, _VOCABULARIES)
    )


def _download_snapshot(name: str, revision: str | None, *, cached_only: bool) -> Path:
    """Call the library; the boundary that tests replace."""
    import huggingface_hub

    folder = huggingface_hub.snapshot_download(
        name,
        revision=revision,
        local_files_only=cached_only,
        allow_patterns=list(_SNAPSHOT_FILES),
        etag_timeout=PROBE_SECONDS,
    )
    return Path(folder)


def _hugging_face_endpoint() -> str:
    from huggingface_hub import constants

    return constants.ENDPOINT


def fetch_kaggle_preset(handle: str, preset: str) -> Path:
    """Fetch a KerasHub preset from Kaggle, or find it in its cache.

    The files are fetched one by one, as KerasHub does, into the same places.

    Args:
        handle: `owner/model/keras/variation/version`.
        preset: what the user called it, for messages.

    Returns:
        The folder in the cache of `kagglehub`.

    Raises:
        PresetError: there is no such preset, it could not be reached, or its
            vocabulary is of a kind that kbert does not read.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+/keras/[\w.-]+/\d+", handle, re.IGNORECASE):
        raise PresetError(
            "a Kaggle preset is written kaggle://owner/model/keras/variation/version; "
            f"received {preset!r}."
        )
    first_time = _find_kaggle_file(handle, "model.weights.h5") is None
    folder = _fetch_kaggle_file(handle, "config.json", preset).parent
    _fetch_kaggle_file(handle, "tokenizer.json", preset)
    if first_time:
        with contextlib.suppress(PresetError):  # a bare backbone has no task
            _fetch_kaggle_file(handle, "task.json", preset)
    for path in (*tokenizer_assets(folder), "model.weights.h5"):
        _fetch_kaggle_file(handle, path, preset)
    return folder


def find_kaggle_preset(handle: str) -> bool:
    """Whether a KerasHub preset lies in Kaggle's cache.

    Args:
        handle: `owner/model/keras/variation/version`.

    Returns:
        Whether its weights and configuration were fetched to their end.
    """
    wanted = ("config.json", "tokenizer.json", "model.weights.h5")
    return all(_find_kaggle_file(handle, path) is not None for path in wanted)


def _fetch_kaggle_file(handle: str, path: str, preset: str) -> Path:
    cached = _find_kaggle_file(handle, path)
    if cached is not None:
        return cached
    _require_network(preset, _KAGGLE)
    try:
        return _download_kaggle_file(handle, path)
    except Exception as error:  # the library raises errors of three other libraries
        raise _failed_fetch(preset, error) from error


def _find_kaggle_file(handle: str, path: str) -> Path | None:
    """Return a cached file that was fetched to its end, `None` if there is none."""
    cache = os.environ.get("KAGGLEHUB_CACHE") or Path.home() / ".cache" / "kagglehub"
    variation, version = os.path.split(Path(cache) / "models" / handle)
    markers = (
        Path(variation) / ".complete" / version / f"{path}.complete",
        Path(variation) / f"{version}.complete",
    )
    file = Path(variation) / version / path
    return file if file.is_file() and any(m.is_file() for m in markers) else None


def _download_kaggle_file(handle: str, path: str) -> Path:
    """Call the library; the boundary that tests replace."""
    import kagglehub

    return Path(kagglehub.model_download(handle, path))


def _require_network(preset: str, url: str) -> None:
    """Raise if the user wants no network, or the hub does not answer in time."""
    offline = [name for name in _OFFLINE_VARIABLES if _is_set(name)]
    reason = f"{offline[0]} is set" if offline else probe(url, PROBE_SECONDS)
    if reason is not None:
        raise PresetError(
            f"preset {preset!r} is not in the cache and could not be fetched: {reason}"
            "; connect to the network, pass a folder, or use the embedded preset "
            "'all_minilm_l6_v2_en'.",
            unreachable=True,
        )


def hub_answers() -> bool:
    """Ask the Hugging Face hub once, briefly, whether it can be reached.

    Returns:
        Whether it answers; `False` without asking where the user wants no network.
    """
    if any(_is_set(name) for name in _OFFLINE_VARIABLES):
        return False
    return probe(_hugging_face_endpoint(), PROBE_SECONDS) is None


def _is_set(variable: str) -> bool:
    return os.environ.get(variable, "").upper() in ("1", "ON", "YES", "TRUE")


def probe(url: str, seconds: float) -> str | None:
    """Ask a server whether it answers.

    Args:
        url: where it is; proxies of the environment are used.
        seconds: how long to wait for all of it: name, connection and answer.

    Returns:
        Why it does not, or `None` if it answers, with an error page too.
    """
    answers: list[str | None] = []
    # A thread, because looking up a name has no time limit of its own.
    thread = threading.Thread(
        target=lambda: answers.append(_ask(url, seconds)), daemon=True
    )
    thread.start()
    thread.join(seconds)
    return answers[0] if answers else f"{url} did not answer within {seconds:g} s"


def _ask(url: str, seconds: float) -> str | None:
    request = urllib.request.Request(url, method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=seconds).close()
    except urllib.error.HTTPError as error:
        error.close()
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        if not isinstance(reason, ssl.SSLCertVerificationError):
            return f"{url} cannot be reached ({reason})"
        # Something answered; the library may know more certificates than we do.
    except Exception as error:  # http.client has errors of its own
        return f"{url} gave no proper answer ({error!r})"
    return None


def _failed_fetch(preset: str, error: Exception) -> PresetError:
    """Return the error that a library's error amounts to."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    kind = type(error).__name__
    if status in (401, 403, 404) or "NotFound" in kind or "Gated" in kind:
        return PresetError(
            f"preset {preset!r} does not exist or is not open to you ({kind}); check "
            "the name, or log in to the hub first.",
            # A documented preset does exist: then something else may stand in for it.
            unreachable=status in (401, 403),
        )
    lines = str(error).strip().splitlines()
    reason = f"{kind}: {lines[0]}" if lines else kind
    return PresetError(
        f"preset {preset!r} could not be fetched ({reason}); try again, pass a "
        "folder, or use the embedded preset 'all_minilm_l6_v2_en'.",
        unreachable=True,
    )
