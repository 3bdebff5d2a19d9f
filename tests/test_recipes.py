"""What holds for every recipe, and the list of them."""

import importlib
import json
import math
from pathlib import Path

import pytest
from tiny import run_python

from kbert.recipes import __main__ as listing
from kbert.recipes import command
from kbert.recipes.__main__ import RECIPES
from kbert.report.wording import duration

FOLDER = Path(listing.__file__).parent
MAX_LINES, MAX_REPEATED = 120, 0.15
RUN = 6  # equal lines in a row that make a repetition
HEAVY = ("datasets", "keras", "keras_hub", "pandas", "tensorflow", "torch")

every_recipe = pytest.mark.parametrize("name", RECIPES)


def load_experiment(name: str):
    return importlib.import_module(f"kbert.recipes.{name}").EXPERIMENT


def run(name: str, *argv: str) -> int:
    return importlib.import_module(f"kbert.recipes.{name}").main(argv)


def misspell(name: str) -> str:
    return name + name[-1]


def test_the_list_has_every_module_with_an_experiment():
    texts = {path.stem: path.read_text("utf-8") for path in FOLDER.glob("*.py")}
    found = {name for name, text in texts.items() if "\nEXPERIMENT = " in text}
    assert found == set(RECIPES)


# === The modules ===


@every_recipe
def test_a_recipe_fits_on_a_screen(name):
    lines = (FOLDER / f"{name}.py").read_text("utf-8").splitlines()
    assert len(lines) <= MAX_LINES


def read_code(path: Path) -> list[str]:
    """The lines of a module without indentation; no blank ones and no imports."""
    lines = [line.strip() for line in path.read_text("utf-8").splitlines()]
    return [x for x in lines if x and not x.startswith(("import ", "from "))]


def count_repeated(lines: list[str], others: list[list[str]]) -> int:
    """Count lines in runs of `RUN` or more that stand in another module as well."""
    theirs = {
        tuple(other[i : i + RUN])
        for other in others
        for i in range(len(other) - RUN + 1)
    }
    repeated = set()
    for i in range(len(lines) - RUN + 1):
        if tuple(lines[i : i + RUN]) in theirs:
            repeated |= set(range(i, i + RUN))
    return len(repeated)


def measure_repetition(modules: list[list[str]]) -> float:
    """Return the share of all modules' lines that stand in another one."""
    repeated = sum(
        count_repeated(lines, modules[:i] + modules[i + 1 :])
        for i, lines in enumerate(modules)
    )
    return repeated / sum(map(len, modules))


def test_recipes_hardly_repeat_each_other():
    modules = [read_code(FOLDER / f"{name}.py") for name in RECIPES]
    assert measure_repetition(modules) < MAX_REPEATED


def test_repetition_is_seen():
    one = [f"line {i}" for i in range(10)]
    other = ["something else", *one[2:8], "and more"]
    assert measure_repetition([one, other]) == pytest.approx(12 / 18)
    assert measure_repetition([one, ["a", *one[2:7], "b"]]) == 0


# === What they state ===


@every_recipe
def test_every_claim_is_a_finite_figure_of_something_measured(name):
    experiment = load_experiment(name)
    for variant in experiment.variants.values():
        names = [claim.name for claim in variant.claims]
        assert all(names) and len(set(names)) == len(names)
        assert all(claim.key for claim in variant.claims)
        assert all(math.isfinite(claim.value) for claim in variant.claims)


@every_recipe
def test_a_documented_figure_stands_beside_each_recipe(name):
    variants = load_experiment(name).variants.values()
    assert any(one.claims and one.is_documented for one in variants)


@every_recipe
def test_variants_start_from_variants_that_come_before(name):
    variants = load_experiment(name).variants
    names = list(variants)
    for position, variant in enumerate(variants.values()):
        if variant.starts_from is not None:
            assert variant.starts_from in names[:position]


@every_recipe
def test_groups_and_the_default_name_variants(name):
    experiment = load_experiment(name)
    assert experiment.default in experiment.variants
    for group, members in experiment.groups.items():
        assert members and set(members) <= set(experiment.variants)
        assert group not in experiment.variants and group != command.ALL


@every_recipe
def test_a_recipe_is_named_as_its_module_and_source(name, shared_data):
    experiment = load_experiment(name)
    assert experiment.name == name
    sources = shared_data("").parent / "experiments" / "sources"
    if sources.is_dir():
        assert (sources / experiment.file).is_file()


# === The command line ===


@every_recipe
def test_help_answers(name, capsys):
    assert run(name, "--help") == 0
    printed = " ".join(capsys.readouterr().out.split())
    for flag in ("--data", "--preset", "--seeds", "--as-documented"):
        assert flag in printed
    assert f"kbert.recipes.{name}" in printed


def refuse(capsys, name: str, *argv: str) -> str:
    """Return the one sentence that a recipe refuses flags with."""
    assert run(name, *argv) == 2
    out, err = capsys.readouterr()
    assert not out
    (sentence,) = err.splitlines()
    assert sentence.startswith("error: ")
    return sentence


@every_recipe
def test_no_seed_is_refused(name, capsys):
    sentence = refuse(capsys, name, "--seeds", "0")
    assert "--seeds must be at least 1; received 0." in sentence


@every_recipe
def test_the_nearest_choice_is_named(name, capsys):
    experiment = load_experiment(name)
    if len(experiment.variants) == 1:
        sentence = refuse(capsys, name, "--sede", "1")
        assert "Did you mean --seed?" in sentence
        return
    wrong, flag = misspell(experiment.default), f"--{experiment.flag}"
    sentence = refuse(capsys, name, flag, wrong)
    assert repr(wrong) in sentence and flag in sentence
    assert f"Did you mean {experiment.default}?" in sentence


# === The list ===


def test_a_line_for_each_recipe_has_its_figure_times_and_question(
    monkeypatch, tmp_path, capsys
):
    times = {RECIPES[0]: {"cpu_seconds": 221.0}}
    (tmp_path / "measured.json").write_text(json.dumps(times), "utf-8")
    monkeypatch.setattr(listing, "MEASURED", tmp_path / "measured.json")
    assert listing.main([]) == 0
    _, *lines = capsys.readouterr().out.splitlines()
    for name, line in zip(RECIPES, lines, strict=False):
        experiment = load_experiment(name)
        assert line.startswith(f"{name} ") and line.endswith(experiment.question)
        values = [
            f"{c.value:g}" for v in experiment.variants.values() for c in v.claims
        ]
        assert any(value in line for value in values)
        assert line.count("not measured") == (1 if name == RECIPES[0] else 2)
    assert duration(221.0) in lines[0]


def test_the_list_is_quick_and_loads_nothing_heavy():
    printed = run_python(
        "import sys, time; from kbert.recipes.__main__ import main;"
        "assert main([]) == 0;"
        "seconds = time.process_time();"  # others may keep the machine busy
        f"heavy = sorted(set({HEAVY!r}) & set(sys.modules)); assert not heavy, heavy;"
        "assert seconds < 1.5, seconds"
    )
    assert all(name in printed for name in RECIPES)


def test_a_name_behind_a_space_is_set_right(capsys):
    assert listing.main([misspell(RECIPES[0])]) == 2
    out, err = capsys.readouterr()
    assert not out and f"python -m kbert.recipes.{RECIPES[0]}." in err


def test_the_list_needs_no_flags_to_help(capsys):
    assert listing.main(["--help"]) == 0
    assert RECIPES[-1] in capsys.readouterr().out
