"""With nothing given, every recipe runs to its end on its bundled sample."""

import importlib
import json

import pytest

from kbert.presets import PresetError, load_preset
from kbert.recipes.__main__ import RECIPES


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_runs_on_its_sample_and_says_so(name, tmp_path, monkeypatch, capsys):
    try:
        load_preset("all_minilm_l6_v2_en")
    except PresetError as error:
        pytest.skip(f"the embedded preset is not installed: {error}")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # as where there is no network
    recipe = importlib.import_module(f"kbert.recipes.{name}")
    out = tmp_path / "run"
    assert recipe.main(["--out", str(out)]) == 0
    assert "sample" in capsys.readouterr().out
    record = json.loads((out / "record.json").read_text("utf-8"))
    assert record["is_fallback"] and not record["is_comparable"]
    assert not record["collapsed"]
    assert (out / "report.html").stat().st_size > 10_000
    assert 0 < record["seconds"]["total"] < 60, "a minute or less is promised"
