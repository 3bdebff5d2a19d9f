"""Every command and example of the README does what the README says."""

import ast
import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kbert import cli
from kbert.commands import inspect, predict, train
from kbert.commands.main import main as kbert_command
from kbert.recipes import command, tweets

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.M | re.S)


def commands_of(target: str) -> list[str]:
    """What make would run for a target in a fresh checkout."""
    if not shutil.which("make"):
        pytest.skip("this system has no make")
    done = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", "VENV=fresh", target],
        # Not the settings of a make that runs these tests.
        env={k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "PYTHON")},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.replace("fresh/", ".venv/").splitlines()


def test_the_first_block_is_the_two_make_commands():
    commands = [line.split("#")[0].strip() for line in blocks("sh")[0].splitlines()]
    assert commands == ["make tweets", "make test"]


def test_the_first_thirty_lines_install_and_show_the_library():
    top = "\n".join(README.splitlines()[:30])
    assert "make tweets" in top and "pip install" in top and "build_classifier" in top


def test_pip_lines_do_what_make_does():
    made = " ".join(commands_of("tweets") + commands_of("test"))
    made = made.replace(" --quiet ", " ").replace('"', "")
    for line in blocks("sh")[1].splitlines():
        for word in shlex.split(line):
            if word != "-m":
                assert word in made, f"make does not run {line!r}"


def test_make_installs_torch_before_anything_that_needs_it():
    installs = [line for line in commands_of("test") if " pip install " in line]
    assert "torch==" in installs[0]
    assert all("-c constraints.txt" in line for line in installs)


def test_the_pinned_torch_is_the_tested_one():
    constraints = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pinned = re.search(r"torch==[\d.]+", README)[0]
    assert pinned in constraints
    assert f"TORCH ?= {pinned}" in (ROOT / "Makefile").read_text("utf-8")


def test_continuous_integration_calls_the_readmes_test_command():
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    assert "\nmake test\n" in script.read_text("utf-8")


def test_the_python_example_is_eight_lines():
    (example,) = blocks("python")
    lines = example.strip().splitlines()
    assert lines[0] == "import kbert" and len(lines) == 8


@pytest.mark.slow
def test_the_python_example_prints_what_the_readme_shows(monkeypatch):
    (example,) = blocks("python")
    monkeypatch.chdir(ROOT)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(ast.parse(example), "README.md", "exec"), {})
    numbers = r"\d+\.\d+(?:e-?\d+)?"
    shown = blocks("text")[0]
    got = printed.getvalue()
    # Other machines round differently: the words are the same, the figures close.
    assert re.sub(numbers, "#", got).split() == re.sub(numbers, "#", shown).split()
    pairs = zip(re.findall(numbers, got), re.findall(numbers, shown), strict=True)
    for ours, theirs in pairs:
        assert float(ours) == pytest.approx(float(theirs), abs=0.1)


@pytest.mark.slow
def test_the_commands_on_own_data_print_what_the_readme_shows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kbert").symlink_to(ROOT / "kbert")
    commands = next(block for block in blocks("sh") if block.startswith("kbert "))
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        for line in commands.splitlines():
            assert kbert_command(shlex.split(line)[1:]) == 0, line
    # Other machines round differently, and 65 rows are few: the words are the same.
    numbers = r"[-+−]?\d+\.\d+"
    got = re.sub(numbers, "#", printed.getvalue())
    for line in blocks("text")[1].splitlines():
        if not line.startswith("Warning"):  # as chance has it
            assert re.sub(numbers, "#", line) in got
    assert (tmp_path / "labelled.csv").read_text("utf-8").startswith("id,keyword")


def test_every_flag_in_the_readme_exists():
    known = set(cli.find_flags(command.build_config(tweets.EXPERIMENT)))
    for flags in (train.Flags, inspect.Flags, predict.Flags):
        known |= set(cli.find_flags(flags))
    known |= {"--help", "--debug", "--extra-index-url"}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", README)) <= known


def test_every_linked_file_exists():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("https://") or (ROOT / target).exists(), target


def test_a_recipes_help_loads_nothing_that_takes_time():
    module = re.search(r"-m (kbert\.recipes\.\w+)", README)[1]
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", module, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0 and done.stdout.startswith(f"usage: python -m {module}")
    loaded = set(re.findall(r"^import time: .*\|\s*(\w+)", done.stderr, re.MULTILINE))
    slow = {"torch", "keras", "keras_hub", "tensorflow", "transformers", "sklearn"}
    assert "kbert" in loaded and not loaded & (slow | {"pandas", "datasets", "scipy"})
