"""Finished runs in a file, so that an interrupted comparison can go on."""

import hashlib
import json
from pathlib import Path

import kbert


class Progress:
    """Runs by what they depend on, a JSON object a line.

    Args:
        path: the file, read now if it exists; `None` to keep nothing.
    """

    def __init__(self, path: Path | None):
        self._path = path
        self._runs: dict[str, dict] = {}
        if path is None or not path.exists():
            return
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue  # the run that was being written when the process ended
            self._runs[_name(entry["key"])] = entry["run"]

    def find(self, key: dict) -> dict | None:
        """Return the run of a key, if it was finished before."""
        return self._runs.get(_name(key))

    def add(self, key: dict, run: dict) -> None:
        """Keep a run, in the file at once."""
        self._runs[_name(key)] = run
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with open(self._path, "a+b") as file:
            line = json.dumps({"key": key, "run": run}).encode() + b"\n"
            file.write(line if _is_whole(self._path) else b"\n" + line)


def _name(key: dict) -> str:
    return json.dumps(key, sort_keys=True)


def _is_whole(path: Path) -> bool:
    """Say whether the file's last line, if it has one, is a whole line."""
    return path.read_bytes()[-1:] in (b"", b"\n")


def digest_training_code() -> str:
    """Return 12 hexadecimal digits that change with the code that kbert trains by."""
    folder = Path(kbert.__file__).parent
    parts = (folder, folder / "engine", folder / "tasks")
    paths = [path for part in parts for path in part.glob("*.py")]
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:12]
