"""Fixtures shared by all tests; nothing here reaches for a network."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TEST_DATA = Path(os.environ.get("KBERT_TEST_DATA", ROOT / ".." / "shared" / "data"))


@pytest.fixture(scope="session")
def shared_data():
    """Return the folder of a real data set, or skip the test where it is absent."""

    def find(name: str) -> Path:
        folder = TEST_DATA / name
        if not folder.is_dir():
            pytest.skip(f"real data set {name!r} not found; set KBERT_TEST_DATA")
        return folder

    return find


# Test files import Keras before kbert, as import sorters order them.
os.environ["KERAS_BACKEND"] = "torch"
