"""The program `kbert`, as a shell calls it."""

import io
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import tiny
from preset_folder import write_preset_folder

import kbert
from kbert.commands.completion import SHELLS
from kbert.commands.main import COMMANDS, main, write_help

TEXTS, LABELS = tiny.write_texts(80)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a folder with a preset, a table and a run that `kbert train` wrote."""
    folder = tmp_path_factory.mktemp("commands")
    write_preset_folder(folder / "preset")
    table = {"text": TEXTS, "mood": np.where(LABELS, "good", "bad")}
    pd.DataFrame(table).to_csv(folder / "moods.csv", index=False)
    assert main(train_line(folder)) == 0
    return folder


def train_line(folder, *more) -> list[str]:
    words = ["train", str(folder / "moods.csv"), "--preset", str(folder / "preset")]
    words += ["--epochs", "2", "--precision", "float32", "--out", str(folder / "run")]
    return [*words, *more]


def test_help_fits_on_a_screen():
    lines = write_help().splitlines()
    assert len(lines) <= 24 and max(map(len, lines)) <= 80
    assert all(f"  {name} " in write_help() for name in COMMANDS)


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from kbert.commands.main import main; code = main(['--help']);"
        "heavy = {'torch', 'keras', 'tyro', 'pandas', 'pyarrow', 'numpy'};"
        "assert code == 0 and not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    assert "usage: kbert COMMAND" in tiny.run_python(code)


def test_the_program_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "kbert", "--version"],
        capture_output=True,
        text=True,
        cwd=tiny.ROOT,
        timeout=120,
    )
    assert done.returncode == 0 and done.stdout == f"kbert {kbert.__version__}\n"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["trian"], "unknown command 'trian'. Did you mean kbert train?"),
        (["xyz"], "unknown command 'xyz'. See kbert --help."),
        (["--jsno"], "unknown flag '--jsno'"),
        (["train"], "FILE is missing"),
        (["evaluate", "run"], "FILE is missing"),
        (["train", "a.csv", "--epoch", "3"], "Did you mean --epochs?"),
        (["train", "a.csv", "--epochs", "x"], "--epochs must be a whole number"),
        (["train", "a.csv", "--epochs", "0"], "--epochs must be at least 1"),
        (["train", "a.csv", "--freeze", "most"], "--freeze must be a number"),
        (["train", "a.csv", "b.csv"], "'b.csv' follows no flag"),
        (["train", "a.csv", "--learning-rate", "3"], "between 0 and 1"),
        (["--print-completion", "sh"], "takes bash, zsh, fish; received sh"),
    ],
)
def test_a_wrong_command_or_flag_is_one_sentence(argv, words, capsys):
    assert main(argv) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and words in captured.err
    assert len(captured.err.splitlines()) == 1


def test_nothing_to_do_shows_the_help(capsys):
    assert main([]) == 2
    assert capsys.readouterr().out == write_help()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_own_help(name, capsys):
    assert main([name, "--help"]) == 0
    assert f"kbert {name}" in capsys.readouterr().out


def test_training_says_what_was_guessed_and_where_everything_is(place, capsys):
    out = place / "second"
    line = train_line(place)[:-1] + [str(out)]
    assert main(line) == 0
    shown = capsys.readouterr().out
    assert "Labels are in the column 'mood' of moods.csv" in shown
    assert "The task is classify, since" in shown
    assert str(out / "report.html") in shown and "accuracy" in shown


def read_json(capsys) -> dict:
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    return json.loads(lines[0])


@pytest.mark.slow
def test_json_is_one_object_and_nothing_else(place, capsys, monkeypatch):
    run, table = str(place / "run"), str(place / "moods.csv")
    line = [*train_line(place)[:-1], str(place / "third"), "--json"]
    assert main(line) == 0
    trained = read_json(capsys)
    assert (
        trained["task"] == "classify" and trained["metrics"]["accuracy"]["value"] >= 0
    )
    assert main(["evaluate", run, table, "--json"]) == 0
    assert read_json(capsys)["num_examples"] == 80
    assert main(["report", run, "--json"]) == 0
    assert read_json(capsys)["split"] == "test"
    assert main(["presets", "--json"]) == 0
    presets = {row["name"]: row for row in read_json(capsys)["presets"]}
    assert presets["bert_base_zh"]["languages"] == "Chinese"
    assert not presets["bert_large_en"]["cached"]
    assert main(["predict", run, table, "--out", f"{place}/p.csv", "--json"]) == 0
    assert read_json(capsys)["num_rows"] == 80
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"the film\n")))
    assert main(["predict", run, "-", "--json"]) == 0
    found = read_json(capsys)
    assert found["num_rows"] == 1 and found["rows"][0]["text"] == "the film"


def test_predictions_go_to_standard_output_unless_named(place, capsys):
    assert main(["predict", str(place / "run"), str(place / "moods.csv")]) == 0
    found = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert list(found)[:4] == ["text", "mood", "label", "probability"]
    assert len(found) == 80


def test_figures_are_shown_as_a_table(place, capsys):
    assert main(["evaluate", str(place / "run"), str(place / "moods.csv")]) == 0
    shown = capsys.readouterr().out
    assert "80 rows of moods.csv" in shown and "accuracy" in shown
    assert main(["report", str(place / "run")]) == 0
    assert str(place / "run" / "report.html") in capsys.readouterr().out


def test_presets_are_listed(capsys):
    assert main(["presets"]) == 0
    shown = capsys.readouterr().out
    assert "all_minilm_l6_v2_en" in shown and "104 languages" in shown


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["train", "none.csv"], "there is no file none.csv"),
        (["report", "none"], "there is no run folder none"),
        (["evaluate", "none", "a.csv"], "there is no run folder none"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    argv, words, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert main(argv) == 1
    captured = capsys.readouterr()
    assert words in captured.err and len(captured.err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_second_run_in_a_folder_is_refused(place, capsys):
    assert main(train_line(place)) == 1
    assert "holds another run already" in capsys.readouterr().err


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_knows_commands_and_flags(shell, capsys):
    assert main(["--print-completion", shell]) == 0
    script = capsys.readouterr().out
    assert "evaluate" in script and "learning-rate" in script and "kbert" in script
