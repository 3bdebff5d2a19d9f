"""Whatever is wrong with the input: one sentence, exit 1 or 2, nothing half written."""

import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kbert.recipes import sources, tweets

SAMPLE = sources.SAMPLES / "tweets"
HEADER = "id,keyword,location,text,target\n"
# Fast enough for a test; everything else is as documented.
QUICK = ["--preset", "all_minilm_l6_v2_en", "--limit", "48", "--epochs", "1"]


@pytest.fixture
def fails(capsys, tmp_path):
    """Call the recipe; return its one sentence after checking that it is one."""

    def call(*argv: object, code: int = 2) -> str:
        out = tmp_path / "out"
        arguments = [str(argument) for argument in argv]
        if "--out" not in arguments:
            arguments += ["--out", str(out)]
        assert tweets.main(arguments) == code
        error = capsys.readouterr().err
        sentence = error.removesuffix("\n")
        assert sentence.startswith("error: ") and sentence.endswith((".", "?")), error
        assert "\n" not in sentence, "more than one line"
        assert not out.exists(), "something was written"
        return sentence

    return call


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def rows(*cells: str) -> str:
    return HEADER + "".join(f"{i},,,{cell}\n" for i, cell in enumerate(cells, 1))


def test_missing_file(fails, tmp_path):
    sentence = fails("--data", tmp_path / "nowhere" / "train.csv", code=1)
    assert "nowhere" in sentence


def test_folder_without_train_csv(fails, tmp_path):
    sentence = fails("--data", tmp_path, code=1)
    assert "train.csv" in sentence and tmp_path.name in sentence


def test_directory_named_csv(fails, tmp_path):
    folder = tmp_path / "tweets.csv"
    folder.mkdir()
    assert "tweets.csv" in fails("--data", folder, code=1)


def test_wrong_column_names_the_nearest(fails, tmp_path):
    path = write(tmp_path / "train.csv", "id,txet,target\n1,a,0\n2,b,1\n")
    sentence = fails("--data", path)
    assert "'text'" in sentence and "'txet'" in sentence


def test_test_file_without_ids(fails, tmp_path):
    write(tmp_path / "train.csv", rows(*["a storm,1", "a song,0"] * 5))
    write(tmp_path / "test.csv", "nr,text\n1,what a day\n")
    sentence = fails("--data", tmp_path, *QUICK)
    assert "'id'" in sentence and "test.csv" in sentence


def test_empty_file(fails, tmp_path):
    assert "empty" in fails("--data", write(tmp_path / "train.csv", ""))


def test_header_only(fails, tmp_path):
    sentence = fails("--data", write(tmp_path / "train.csv", HEADER))
    assert "train.csv" in sentence and "row" in sentence


def test_one_class(fails, tmp_path):
    path = write(tmp_path / "train.csv", rows(*["a,1", "b,1", "c,1"] * 4))
    assert "class" in fails("--data", path)


def test_null_labels(fails, tmp_path):
    path = write(tmp_path / "train.csv", rows("a,1", "b,", "c,0", "d,1"))
    assert "'target'" in fails("--data", path)


def test_float_labels(fails, tmp_path):
    path = write(tmp_path / "train.csv", rows("a,0.5", "b,1", "c,0", "d,1"))
    assert "0.5" in fails("--data", path)


def test_labels_other_than_0_and_1(fails, tmp_path):
    path = write(tmp_path / "train.csv", rows(*["a,yes", "b,no"] * 6))
    sentence = fails("--data", path)
    assert "'target'" in sentence and "yes" in sentence


def test_binary_garbage(fails, tmp_path):
    garbage = bytes(range(256)) * 40
    assert "train.csv" in fails("--data", write(tmp_path / "train.csv", garbage))


def test_binary_garbage_without_zeros(fails, tmp_path):
    garbage = bytes(range(1, 256)) * 40
    sentence = fails("--data", write(tmp_path / "train.csv", garbage))
    assert "train.csv" in sentence and "save it as UTF-8" in sentence


def test_semicolons_are_understood_and_a_ragged_row_among_them_is_named(
    fails, tmp_path
):
    text = rows(*["a storm, at last,1", "a song,0"] * 5).replace(",", ";")
    sentence = fails("--data", write(tmp_path / "train.csv", text))
    assert "row 0 (line 2) has 6" in sentence and "quote fields" in sentence


def test_test_tweets_without_an_id(fails, tmp_path):
    write(tmp_path / "train.csv", rows(*["a storm,1", "a song,0"] * 5))
    write(tmp_path / "test.csv", "id,text\n1,what a day\n,what a night\n")
    sentence = fails("--data", tmp_path, *QUICK)
    assert "'id'" in sentence and "test.csv" in sentence and "row 1" in sentence


def test_a_file_without_its_flag(fails):
    assert "--data tweets_1.csv" in fails("tweets_1.csv")


def test_limit_1(fails):
    assert "limit" in fails("--limit", 1)


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--epochs", "0"),
        ("--epochs", "-1"),
        ("--batch-size", "0"),
        ("--learning-rate", "0"),
        ("--learning-rate", "nan"),
        ("--max-length", "2"),
        ("--limit", "0"),
        ("--seed", "-1"),
        ("--precision", "float8"),
        ("--device", "tpu"),
        ("--cleaning", "twice"),
    ],
)
def test_a_value_no_run_can_use_is_a_usage_error(fails, flag, value):
    sentence = fails(flag, value)
    assert flag in sentence and value in sentence


def test_cleaning_contradicts_as_documented(fails):
    sentence = fails("--cleaning", "none", "--as-documented")
    assert "--cleaning" in sentence and "--as-documented" in sentence


def test_max_length_beyond_the_preset(fails):
    sentence = fails(*QUICK, "--max-length", 9999)
    assert "9999" in sentence and "512" in sentence


def test_unknown_preset_names_the_nearest(fails):
    sentence = fails("--preset", "all_minilm_l6_v2_ne")
    assert "all_minilm_l6_v2_en" in sentence


def test_cuda_without_a_gpu(fails, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "cuda" in fails(*QUICK, "--device", "cuda", code=1)


def test_out_below_a_file(fails, tmp_path):
    write(tmp_path / "file.txt", "mine")
    sentence = fails(*QUICK, "--out", tmp_path / "file.txt" / "run", code=1)
    assert "file.txt" in sentence
    assert (tmp_path / "file.txt").read_text() == "mine"


def test_out_is_a_file(fails, tmp_path):
    path = write(tmp_path / "file.txt", "mine")
    assert "file.txt" in fails(*QUICK, "--out", path, code=1)
    assert path.read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_unwritable_out(fails, tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    assert "locked" in fails(*QUICK, "--out", folder / "run", code=1)


def test_out_on_a_file_system_that_takes_nothing(fails):
    if not Path("/proc/self").is_dir():
        pytest.skip("this system has no /proc")
    assert "/proc/kbert" in fails(*QUICK, "--out", "/proc/kbert/run", code=1)


def test_out_that_holds_another_run(fails, tmp_path):
    run = tmp_path / "earlier"
    write(run / "config.json", "{}")
    write(run / "model.keras", b"precious")
    assert "earlier" in fails(*QUICK, "--out", run, code=1)
    assert sorted(path.name for path in run.iterdir()) == ["config.json", "model.keras"]
    assert (run / "model.keras").read_bytes() == b"precious"


def test_disk_full_while_saving(capsys, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        code = tweets.main([*QUICK, "--out", str(tmp_path / "run")])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    error = capsys.readouterr().err
    assert code == 1 and "Traceback" not in error
    assert error.splitlines()[-1].startswith("error: ") and "model.keras" in error
    left = {path.name for path in (tmp_path / "run").glob("*")}
    assert left <= {"config.json", "history.csv"}, "something half written is left"


@pytest.mark.slow
def test_ctrl_c_in_epoch_2_keeps_what_was_trained(tmp_path):
    run = tmp_path / "run"
    command = [sys.executable, "-u", "-m", "kbert.recipes.tweets", "--data", SAMPLE]
    command += [*QUICK[:-1], "50", "--out", str(run)]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Tests that run in the background of a shell ignore it, and so would this.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    for line in process.stdout:
        if line.startswith("epoch 1/50") and "val_accuracy" in line:
            process.send_signal(signal.SIGINT)
            break
    _, error = process.communicate(timeout=180)
    assert process.returncode == 130, error
    assert "Traceback" not in error
    assert [line for line in error.splitlines() if str(run) in line], error
    names = sorted(path.name for path in run.iterdir())
    assert names == ["config.json", "history.csv", "model.keras"]
    num_epochs = len((run / "history.csv").read_text().splitlines()) - 1
    assert num_epochs >= 1 and f"in epoch {num_epochs + 1} of 50" in error

    import kbert

    probabilities = kbert.load_model(run / "model.keras").predict(["a fire nearby"])
    assert probabilities.shape == (1, 2)


@pytest.mark.slow
def test_an_error_in_a_process_of_its_own_has_no_traceback(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "kbert.recipes.tweets", "--data", tmp_path],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_debug_shows_the_traceback(tmp_path, capsys):
    assert tweets.main(["--data", str(tmp_path), "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_readers_closed_pipe_is_no_traceback(tmp_path):
    if not shutil.which("head"):
        pytest.skip("this system has no head")
    command = f"'{sys.executable}' -m kbert.recipes.tweets --help | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.stdout.startswith("usage: ") and done.stderr == ""
