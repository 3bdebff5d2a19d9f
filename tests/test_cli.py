"""Flags, exit codes and one-sentence errors of the command line."""

import errno
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from kbert import cli
from kbert.writing import undisturbed


@dataclass(frozen=True, kw_only=True)
class Config:
    """Do something."""

    folder: Path | None = None  # where to look
    epochs: int = 4  # passes over the data
    learning_rate: float = 2e-5  # peak
    cleaning: Literal["fixed", "none"] = "fixed"  # which order
    as_documented: bool = False  # repeat the quirks

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ValueError(f"--epochs must be at least 1; received {self.epochs}.")


def call(capsys, argv, run=lambda config: None):
    code = cli.run_recipe(Config, run, argv, prog="thing")
    streams = capsys.readouterr()
    return code, streams.out, streams.err


def test_flags_become_a_configuration(capsys):
    seen = []
    argv = ["--folder", "a b", "--learning-rate=1e-4", "--as-documented"]
    assert call(capsys, argv, seen.append) == (0, "", "")
    assert seen == [Config(folder=Path("a b"), learning_rate=1e-4, as_documented=True)]


def test_help_shows_every_flag_and_its_comment(capsys):
    code, out, err = call(capsys, ["--help"])
    assert code == 0 and err == ""
    assert out.startswith("usage: thing")
    for words in ("--folder", "where to look", "--as-documented", "--debug"):
        assert words in out


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--epcohs", "3"], "unknown flag '--epcohs'. Did you mean --epochs?"),
        (["--zzz"], "unknown flag '--zzz'. See --help for all flags."),
        (["--epochs", "x"], "--epochs must be a whole number; received 'x'."),
        (["--epochs", "1.5"], "--epochs must be a whole number; received '1.5'."),
        (["--epochs"], "--epochs needs a value: give a whole number."),
        (["--learning-rate", "much"], "must be a number; received 'much'."),
        (["--cleaning", "fix"], "--cleaning must be fixed or none; received 'fix'."),
        (["--debug=1"], "--debug takes no value; received"),
        (["--as-documented=1"], "takes no value; received '1'. Give --as-documented"),
        (["--epochs", "0"], "--epochs must be at least 1; received 0."),
        (["--foo"], "unknown flag '--foo'. See --help for all flags."),
        (["a_b.csv"], "'a_b.csv' follows no flag. Write one before it: --"),
    ],
)
def test_a_wrong_flag_is_one_sentence_and_exit_2(capsys, argv, sentence):
    def run(config):
        pytest.fail("ran in spite of a wrong flag")

    code, out, err = call(capsys, argv, run)
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and sentence in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (FileNotFoundError("no x here. Make one."), "no x here. Make one."),
        (OSError(errno.ENOSPC, "No space left on device", "a"), "No space left"),
        (RuntimeError("no GPU."), "no GPU."),
        (MemoryError(), "memory ran out"),
    ],
)
def test_an_expected_error_is_one_sentence_and_exit_1(capsys, error, sentence):
    def run(config):
        raise error

    code, out, err = call(capsys, [], run)
    assert (code, out) == (1, "")
    assert err.startswith("error: ") and sentence in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ValueError("row 3\n is odd."), "row 3 is odd."),
        (ValueError(), "ValueError"),
    ],
)
def test_wrong_data_is_one_sentence_and_exit_2(capsys, error, sentence):
    def run(config):
        raise error

    assert call(capsys, [], run) == (2, "", f"error: {sentence}\n")


def test_debug_shows_where_the_error_comes_from(capsys):
    def run(config):
        raise ValueError("row 3 is odd.")

    code, _, err = call(capsys, ["--debug"], run)
    assert code == 2
    assert "Traceback" in err and "in run" in err
    assert err.endswith("error: row 3 is odd.\n")


def test_a_bug_is_not_disguised_as_a_user_error(capsys):
    def run(config):
        raise TypeError("a bug")

    with pytest.raises(TypeError, match="a bug"):
        cli.run_recipe(Config, run, [])


def test_a_signal_to_end_stops_as_ctrl_c_does_once_what_is_saved_is_whole(capsys):
    steps = []

    def run(config):
        with undisturbed():
            signal.raise_signal(signal.SIGTERM)
            steps.append("saved")
        steps.append("went on")

    usual = signal.getsignal(signal.SIGTERM)
    code, _, err = call(capsys, [], run)
    assert code == 130 and err.strip() == "Stopped; nothing was kept."
    assert steps == ["saved"] and signal.getsignal(signal.SIGTERM) == usual


def test_an_interrupt_says_what_was_kept(capsys):
    def run(config):
        raise KeyboardInterrupt("stopped in epoch 2; the model is in runs/a.")

    code, _, err = call(capsys, [], run)
    assert code == 130
    assert err.strip() == "stopped in epoch 2; the model is in runs/a."


def test_an_interrupt_that_kept_nothing_says_so(capsys):
    def run(config):
        raise KeyboardInterrupt

    code, _, err = call(capsys, [], run)
    assert code == 130 and err.strip() == "Stopped; nothing was kept."


def test_an_interrupt_while_flags_are_read_is_no_traceback(capsys, monkeypatch):
    def interrupt(*arguments, **keywords):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "parse", interrupt)
    code, _, err = call(capsys, [])
    assert code == 130 and err.strip() == "Stopped; nothing was kept."
