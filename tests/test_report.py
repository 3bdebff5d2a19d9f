"""Run folders and reports: whole or absent, complete, escaped, self-contained."""

import errno
import html.parser
import json
import os
import re
import sys
import threading
import types
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_case import make_run

from kbert import report
from kbert.report import RunFolder, plots, wording
from kbert.report.plain import dump_csv, dump_json, to_plain

# === Run folders ===


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_is_made_with_its_parents_and_claimed(tmp_path):
    folder = RunFolder.create(tmp_path / "a" / "b", recipe="tweets")
    assert folder.path == tmp_path / "a" / "b"
    assert names_in(folder.path) == ["config.json"]
    assert json.loads((folder.path / "config.json").read_text()) == {"recipe": "tweets"}


def test_an_empty_folder_is_taken(tmp_path):
    (tmp_path / ".DS_Store").touch()
    assert RunFolder.create(tmp_path).path == tmp_path


def test_the_default_names_recipe_and_time_and_is_never_shared(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = [RunFolder.create(recipe="tweets").path for _ in range(4)]
    assert len(set(paths)) == 4
    for path in paths:
        assert re.fullmatch(r"tweets-\d{8}T\d{6}Z(-\d)?", path.name)
        assert path.parent == Path("runs")


def test_of_runs_that_start_together_in_one_folder_one_gets_it(tmp_path):
    outcomes = []

    def start():
        try:
            outcomes.append(RunFolder.create(tmp_path / "run"))
        except FileExistsError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(found, RunFolder) for found in outcomes) == 1
    assert len(outcomes) == 8


def refuse(path: Path, kind: type[OSError]) -> str:
    with pytest.raises(kind) as found:
        RunFolder.create(path)
    with pytest.raises(kind):
        RunFolder.check(path)
    sentence = found.value.strerror
    assert str(path) in sentence and "--out" in sentence and sentence.endswith(".")
    return sentence


@pytest.mark.parametrize("name", ["config.json", "report.json"])
def test_a_folder_with_another_run_is_refused(tmp_path, name):
    (tmp_path / name).write_text("{}")
    assert "holds another run already" in refuse(tmp_path, FileExistsError)
    assert (tmp_path / name).read_text() == "{}"


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "notes.txt").touch()
    assert "not empty (it holds 'notes.txt')" in refuse(tmp_path, FileExistsError)
    assert names_in(tmp_path) == ["notes.txt"]


def test_a_file_is_no_folder(tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    assert f"{file} is a file" in refuse(file, NotADirectoryError)
    assert f"{file} is a file" in refuse(file / "run", NotADirectoryError)
    assert file.read_text() == "mine"


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere"
)
def test_an_unwritable_parent_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    refuse(tmp_path / "run", PermissionError)
    tmp_path.chmod(0o700)


def test_what_the_system_objects_to_becomes_a_sentence(tmp_path, monkeypatch):
    def mkdir(self, *args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with pytest.raises(
        PermissionError, match="cannot create run folder .*: Permission"
    ):
        RunFolder.create(tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PermissionError, match="Name one by --out"):
        RunFolder.create(recipe="tweets")


def test_a_disk_that_is_full_at_the_start_leaves_no_claim(tmp_path, monkeypatch):
    class Full:
        def __enter__(self):
            return self

        def __exit__(self, *exception):
            return None

        def write(self, text):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("builtins.open", lambda *args, **kwargs: Full())
    with pytest.raises(OSError, match="No space left on device") as found:
        RunFolder.create(tmp_path)
    assert found.value.errno == errno.ENOSPC
    assert names_in(tmp_path) == []


def test_a_folder_is_given_up_only_while_nothing_is_in_it(tmp_path):
    folder = RunFolder.create(tmp_path / "run")
    folder.write_text("notes.txt", "kept")
    folder.release()
    assert names_in(folder.path) == ["config.json", "notes.txt"]
    other = RunFolder.create(tmp_path / "other")
    other.release()
    assert not other.path.exists()
    other.release()


# === Files ===


def test_files_are_written_as_asked(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_text("a.txt", "grüße 🙂 \udc80\n")
    folder.write_json("b.json", {"x": np.float32(0.5), "text": "ü\udc80"})
    folder.write_csv("c.csv", pd.DataFrame({"id": [0, 2], "target": [1, 0]}))
    folder.write_csv("d.csv", [{"a": 1, "b": None}, {"a": 0.1, "c": 'say "x"'}])
    assert (tmp_path / "a.txt").read_bytes() == "grüße 🙂 \\udc80\n".encode()
    assert json.loads((tmp_path / "b.json").read_text("utf-8")) == {
        "x": 0.5,
        "text": "ü\udc80",
    }
    assert (tmp_path / "c.csv").read_text() == "id,target\n0,1\n2,0\n"
    assert (tmp_path / "d.csv").read_text() == 'a,b,c\n1,,\n0.1,,"say ""x"""\n'
    assert names_in(tmp_path) == ["a.txt", "b.json", "c.csv", "d.csv"]


@pytest.mark.parametrize("name", ["", "..", "../x.txt", "a/b.txt"])
def test_files_stay_in_the_folder(tmp_path, name):
    with pytest.raises(ValueError, match="have no folders; received"):
        RunFolder(tmp_path).write_text(name, "x")


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (
            errno.ENOSPC,
            r"disk is full while writing .*a\.txt; nothing was half written",
        ),
        (errno.EIO, r"cannot write .*a\.txt: .* Nothing was half written"),
    ],
)
@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_a_failed_write_keeps_the_old_file(
    tmp_path, monkeypatch, code, sentence, where
):
    folder = RunFolder(tmp_path)
    folder.write_text("a.txt", "old")

    def fail(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, where, fail)
    with pytest.raises(OSError, match=sentence) as found:
        folder.write_text("a.txt", "new")
    monkeypatch.undo()
    assert found.value.errno == code
    assert (tmp_path / "a.txt").read_text() == "old"
    assert names_in(tmp_path) == ["a.txt"]


def test_a_full_disk_is_seen_behind_the_error_that_hides_it(tmp_path):
    class Model:
        def save(self, path, include_optimizer=True):
            Path(path).write_bytes(b"half")
            try:
                raise OSError(errno.ENOSPC, "No space left on device")
            finally:
                raise ValueError("Can't close the ZIP file")

    with pytest.raises(OSError, match=r"disk is full while writing .*model\.keras"):
        RunFolder(tmp_path).save_model(Model())
    assert names_in(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="no file size limits")
def test_a_model_too_large_for_the_disk_leaves_nothing(tmp_path):
    import resource

    class Model:
        def save(self, path, include_optimizer=True):
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("weights", os.urandom(1 << 17))

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
    try:
        with pytest.raises(OSError, match=r"disk is full while writing .*model\.keras"):
            RunFolder(tmp_path).save_model(Model())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names_in(tmp_path) == []


def test_a_model_keeps_its_suffix_while_it_is_written(tmp_path):
    written = []
    model = types.SimpleNamespace(
        save=lambda p, **_: (written.append(p), Path(p).touch())
    )
    assert RunFolder(tmp_path).save_model(model) == tmp_path / "model.keras"
    assert written[0].endswith(".keras")
    assert names_in(tmp_path) == ["model.keras"]


def test_other_errors_and_ctrl_c_pass_and_leave_nothing(tmp_path):
    for error in (ValueError("wrong"), KeyboardInterrupt()):
        with pytest.raises(type(error)), RunFolder(tmp_path).replacing("x") as path:
            path.write_text("half")
            raise error
    assert names_in(tmp_path) == []


# === Plain values ===


def test_values_become_plain():
    value = {
        1: (np.int64(2), np.array([0.5, np.nan])),
        "path": Path("a"),
        "set": {"b", "a"},
        "infinite": float("inf"),
        "flag": np.bool_(True),
        "none": None,
    }
    assert to_plain(value) == {
        "1": [2, [0.5, None]],
        "path": "a",
        "set": ["a", "b"],
        "infinite": None,
        "flag": True,
        "none": None,
    }


def test_a_value_without_a_plain_form_is_named():
    with pytest.raises(ValueError, match=r"x.json\['a'\]\[1\] is a object, which JSON"):
        dump_json({"a": [1, object()]}, "x.json")


def test_csv_of_a_frame_reads_back():
    frame = pd.DataFrame({"day": pd.to_datetime(["2026-01-02", None])})
    frame["x"], frame["text"] = [1.5, None], ["a\rb", "c"]
    shown = 'day,x,text\n2026-01-02 00:00:00,1.5,"a\rb"\n,,c\n'
    assert dump_csv(frame) == shown


def test_csv_of_nothing_is_empty_or_a_header():
    assert dump_csv([]) == "" and dump_csv([], ["a", "b"]) == "a,b\n"


# === Reports ===


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = RunFolder.create(tmp_path_factory.mktemp("report") / "run")
    report.write_report(folder, make_run())
    return folder.path


def test_a_report_is_these_files(written):
    assert names_in(written) == [
        "config.json",
        "history.csv",
        "report.html",
        "report.json",
        "report.md",
    ]
    config = json.loads((written / "config.json").read_text())
    assert config == {
        "recipe": "tweets",
        "epochs": 2,
        "learning_rate": 2e-5,
        "limit": None,
    }
    assert (written / "history.csv").read_text().splitlines() == [
        "epoch,loss,val_loss,seconds",
        "1,0.6,0.5,31.2",
        "2,0.4,,30.9",
    ]


def test_report_json_has_what_programs_read(written):
    found = json.loads((written / "report.json").read_text())
    assert set(found) >= {
        "schema", "recipe", "preset", "data", "device", "seed", "metrics",
        "documented", "deviations", "seconds",
    }  # fmt: skip
    assert {"rows", "label_counts", "longest", "truncated", "leaks"} <= set(
        found["data"]
    )
    assert (
        0 < found["metrics"]["accuracy"]["low"] < found["metrics"]["accuracy"]["high"]
    )
    assert not {"labels", "probabilities", "lengths"} & set(found)


class Page(html.parser.HTMLParser):
    """Elements, attributes and visible text of a page."""

    VOID = {"meta", "link", "br", "img", "hr", "input"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data


UNDRAWN = dict(history=[], labels=None, probabilities=None, lengths=None)


def page_of(**changes) -> Page:
    """The page of a run; it draws nothing that is not named, since plots take time."""
    return Page(report.render_html(make_run(**{**UNDRAWN, **changes})))


def test_the_page_is_small_and_shows_every_section(written):
    text = (written / "report.html").read_text("utf-8")
    assert len(text) < 3_000_000
    page = Page(text)
    for words in (
        "What was asked", "kbert.recipes.tweets", "Documented beside measured",
        "What was measured", "Learning curves", "Confusion matrix", "By class",
        "Reliability", "Precision and recall", "cut at 30", "fire in the valley",
        "2 rows with a text that a later split holds too.", "The best epoch is kept.",
        "Environment", "1,234",
    ):  # fmt: skip
        assert words in page.text, words
    assert page.tags.count("svg") == 4
    assert page.text.count("predicted ") >= 15


def assert_safe(page: Page) -> None:
    """Nothing in the page runs, loads or leads anywhere."""
    assert not {
        "script",
        "img",
        "iframe",
        "object",
        "embed",
        "a",
        "base",
        "form",
    } & set(page.tags)
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), (tag, name)
        assert name not in ("src", "action", "srcset"), (tag, name)
        if "href" in name:
            assert value.startswith("#") or value == "data:,", value
        if name == "style":
            assert "url(" not in value.replace("url(#", ""), value


def test_the_page_loads_nothing_and_says_so(written):
    text = (written / "report.html").read_text("utf-8")
    page = Page(text)
    assert_safe(page)
    policy = next(v for _, n, v in page.attributes if v.startswith("default-src"))
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src")
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style and "@import" not in style


def test_ids_are_unique_and_references_lead_somewhere(written):
    page = Page((written / "report.html").read_text("utf-8"))
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids)) > 20
    for _, name, value in page.attributes:
        if name == "href" and value.startswith("#"):
            assert value[1:] in ids
        for target in re.findall(r"url\(#([^)]*)\)", value):
            assert target in ids


def test_plots_take_their_colours_from_the_page(written):
    text = (written / "report.html").read_text("utf-8")
    plots = "".join(re.findall(r"<svg.*?</svg>", text, re.S))
    assert "var(--series-1)" in plots and "<text" in plots
    assert set(re.findall(r"#[0-9a-f]{6}", plots)) <= {"#ffffff", "#000000"}
    assert "font-family" not in plots and "DejaVu" not in plots
    defined = set(re.findall(r"(--[\w-]+):", text))
    assert set(re.findall(r"var\((--[\w-]+)\)", text)) <= defined


def test_equal_runs_give_equal_pages(written):
    again = report.render_html(make_run())
    assert again == (written / "report.html").read_text("utf-8")


APART = [
    {
        "name": "validation accuracy",
        "documented": 0.83,
        "measured": 0.7654321,
        "comparable": False,
    }
]


def test_a_run_that_fell_back_is_never_beside_the_document():
    run = make_run(
        documented=APART, notices=["The bundled sample stands in."], **UNDRAWN
    )
    page = Page(report.render_html(run))
    assert "This run does not compare with the document" in page.text
    assert "Not comparable." in page.text and "0.83" in page.text
    assert "Documented beside measured" not in page.text
    for text in (page.text, report.render_markdown(run)):
        assert "The bundled sample stands in." in text
        assert "0.765" not in text
    assert "does not compare" in report.render_markdown(run)
    assert not run.is_comparable and make_run().is_comparable


def test_comparable_figures_stand_beside_the_documented_ones():
    for text in (page_of().text, report.render_markdown(make_run())):
        assert re.search(r"0\.83\W*0\.765\W*−0\.065", text), text


def test_a_bare_run_has_a_report_too():
    fields = vars(make_run())
    fields |= dict(
        data={}, device={}, config={}, history=[], metrics={}, documented=(),
        deviations=(), seconds={}, label_names=(), mistakes=(), labels=None,
        probabilities=None, lengths=None, kept_epoch=None, environment={"packages": {}},
    )  # fmt: skip
    bare = report.Run(**fields)
    page = Page(report.render_html(bare))
    assert "Documented" not in page.text and "svg" not in page.tags
    assert "# Tweets about disasters" in report.render_markdown(bare)


@pytest.mark.parametrize("num_classes", [3, 20, 120])
def test_more_classes_have_a_report_too(num_classes):
    names = tuple(f"class {i}" for i in range(num_classes))
    run = make_run(
        label_names=names, num_rows=3 * num_classes, history=[], lengths=None
    )
    page = Page(report.render_html(run))
    assert page.tags.count("svg") == 2
    assert ("Confusion matrix" in page.text) == (num_classes == 3)
    assert ("Commonest confusions" in page.text) == (num_classes > 12)
    assert ("70 more are in report.json" in page.text) == (num_classes == 120)


def test_a_class_without_rows_is_explained():
    from kbert import evaluation

    names, probabilities = ("a", "b"), np.array([[0.9, 0.1], [0.2, 0.8]])
    metrics = evaluation.compute_metrics([0, 0], probabilities, names, num_bootstrap=9)
    page = page_of(
        metrics=metrics, labels=np.zeros(2, int), probabilities=probabilities,
        label_names=names,
    )  # fmt: skip
    assert "ROC AUC is undefined: 'b' has no row" in page.text


def test_one_epoch_and_lengths_of_one_token_are_drawn():
    history = [{"epoch": 1, "loss": 0.5, "val_loss": 0.5, "odd <b>": 1.0}]
    page = page_of(history=history, lengths=np.ones(3, int), kept_epoch=None)
    assert_safe(page)
    assert page.tags.count("svg") == 3


def test_a_report_says_why_an_epoch_was_kept_that_is_not_the_best():
    reason = {"kept_epoch": 1, "kept_reason": "of <60> rows, the last"}
    epochs = {"history": [{"epoch": 1, "loss": 0.5}]}
    run = make_run(**{**UNDRAWN, **epochs, **reason})
    page = Page(report.render_html(run))
    assert "epoch 1, whose weights were kept: of <60> rows, the last." in page.text
    assert "epoch 1 were kept: of &lt;60" in report.render_markdown(run)
    assert "kept: " not in page_of(**epochs, kept_epoch=1).text


def texts_of(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_tokens_and_texts_are_counted_in_whole_numbers():
    svg = plots.plot_lengths(np.array([3, 4, 4, 5, 20, 21]), 22)
    numbers = [text for text in texts_of(svg) if text[0].isdigit()]
    assert numbers and all(text.isdigit() for text in numbers), numbers


@pytest.mark.parametrize("ends", [(0.5, 0.5), (0.5, 0.51), (0.51, 0.5), (0.2, 0.9)])
def test_the_names_of_two_lines_do_not_overlap(ends):
    rows = [{"epoch": 1, "loss": 0.9, "val_loss": 0.1}]
    rows.append({"epoch": 2, "loss": ends[0], "val_loss": ends[1]})
    svg = plots.plot_metric(rows, "loss", 2)
    heights = {
        name: float(re.search(rf'y="([\d.]+)"[^>]*>{name}<', svg)[1])
        for name in ("training", "validation")
    }
    gap = heights["validation"] - heights["training"]  # downwards, in points
    assert abs(gap) > 12
    assert gap > 0 or ends[1] > ends[0]


def test_a_setting_that_was_not_given_and_a_blank_text_are_said():
    mistake = {"row": 3, "text": " ", "label_name": "a", "predicted_name": "b"}
    mistake |= {"probability": 0.9, "label_probability": 0.1}
    page = page_of(config={"limit": None}, mistakes=[mistake])
    assert "not set" in page.text and "(blank)" in page.text


def test_documented_figures_without_notes_have_no_column_for_them():
    row = {"name": "accuracy", "documented": 0.83, "comparable": False}
    assert "Note" not in page_of(documented=[row]).text
    assert "Note" in page_of(documented=[{**row, "note": "of a mean"}]).text


def test_long_texts_on_a_far_cut_are_drawn():
    page = page_of(
        lengths=np.array([3, 4000, 250_000]), data={"max_length": 512, "rows": {}}
    )
    assert "cut at 512" in page.text
    far = page_of(lengths=np.array([3, 9]), data={"max_length": 512, "rows": {}})
    assert "cut at" not in far.text and "svg" in far.tags


HOSTILE = (
    "<script>document.title='pwned'</script>",
    '"><img src=x onerror="document.title=1">',
    "</style></textarea><svg onload=alert(1)>",
    "[a](javascript:alert(1)) ![b](http://127.0.0.1/x.png) `c` | d",
    "{{ 7 * 7 }}{% raw %}&lt;b&gt;",
    "nul\x00 bell\x07 c1\x9b \u202ereversed\u202c \udc80 \ufffe",
    "x" * 10_000,
)


@pytest.fixture(scope="module")
def hostile():
    """A run in which every text that somebody else could choose is hostile."""
    attack = " ".join(HOSTILE[:-1])
    return make_run(
        label_names=(HOSTILE[0], HOSTILE[1]),
        texts=(attack, *HOSTILE),
        title=attack, question=attack, command=attack, notices=[attack],
        deviations=[attack], config={attack: attack},
        preset={"name": attack, "source": attack},
        history=[{"epoch": 1, "loss": 1.0, HOSTILE[1]: 1.0}],
        documented=[{"name": attack, "documented": attack, "measured": attack,
                     "comparable": True, "note": attack}],
    )  # fmt: skip


@pytest.fixture(scope="module")
def hostile_folder(hostile, tmp_path_factory):
    folder = RunFolder.create(tmp_path_factory.mktemp("hostile") / "run")
    report.write_report(folder, hostile)
    return folder.path


def test_hostile_texts_are_shown_and_do_nothing(hostile_folder):
    page = Page((hostile_folder / "report.html").read_text("utf-8"))
    assert_safe(page)
    assert "document.title='pwned'" in page.text and "{{ 7 * 7 }}" in page.text
    assert "␀" in page.text and "‹U+202E›" in page.text and "‹U+DC80›" in page.text
    assert "10,000 characters in all" in page.text and "x" * 700 not in page.text


def test_hostile_texts_are_not_markup_in_markdown(hostile_folder):
    text = (hostile_folder / "report.md").read_text("utf-8")
    assert "\x00" not in text and "\u202e" not in text
    outside = re.sub(r"^```text\n.*?\n```$", "", text, flags=re.S | re.M)
    assert "<" not in outside and not re.search(r"(?<!\\)\]\(", outside)
    rows = [line for line in outside.splitlines() if "pwned" in line and line[0] == "|"]
    assert rows
    for row in rows:
        assert len(re.findall(r"(?<!\\)\|", row)) in (3, 6, 7), row


def test_hostile_texts_survive_in_json(hostile_folder):
    found = json.loads((hostile_folder / "report.json").read_text("utf-8"))
    assert found["title"] == " ".join(HOSTILE[:-1])


def test_what_cannot_be_shown_leaves_the_folder_as_it_was(tmp_path):
    folder = RunFolder.create(tmp_path / "run")
    with pytest.raises(ValueError, match="is a object, which JSON has no form for"):
        report.write_report(folder, make_run(config={"x": object()}))
    assert json.loads((folder.path / "config.json").read_text()) == {"recipe": "run"}
    assert names_in(folder.path) == ["config.json"]


# === Wording ===


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(codec=None), max_size=60))
def test_printable_texts_are_printable(text):
    shown = wording.printable(text)
    assert not set(shown) & set("\x00\x07\x1b\x7f\x9b\u202e")
    shown.encode("utf-8")
    escaped = wording.markdown(text)
    assert not set(escaped) & set("<>\n") and not re.search(r"(?<!\\)[|`\[\]]", escaped)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.81249, "0.812"), (1523, "1,523"), (None, "–"), (float("nan"), "–"),
     (2e-5, "2.0e−05"), (-0.5, "−0.500"), (0.0, "0.000"), ("47–49 s", "47–49 s")],
)  # fmt: skip
def test_figures(value, shown):
    assert wording.figure(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(2e-5, "2e-05"), (0.83, "0.83"), (True, "yes"), (None, "–"), ([1, 2], "1, 2"),
     ({"a": 1}, "a: 1"), ((), "–")],
)  # fmt: skip
def test_settings(value, shown):
    assert wording.setting(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.84, "0.8 s"), (31.2, "31.2 s"), (59.97, "1 min 0 s"), (221, "3 min 41 s"),
     (7322, "2 h 2 min"), (None, "–")],
)  # fmt: skip
def test_durations(seconds, shown):
    assert wording.duration(seconds) == shown


# === Data and environment ===


def test_data_is_described():
    from kbert.data import load_splits
    from kbert.encoded import Truncation

    texts = ["a", "b", "c", "d", "a", "f", "g", "h", "i", "j"]
    splits = load_splits((texts, ["no", "yes"] * 5), validation=0.2, seed=1)
    truncation = Truncation(10, 1, 3, 8, 11, {95: 8, 99: 11, 100: 11})
    found = report.describe_data(splits, truncation, max_length=8)
    assert found["rows"] == {"train": 8, "validation": 2}
    assert sum(found["label_counts"]["train"].values()) == 8
    assert (found["longest"], found["truncated"], found["max_length"]) == (11, 1, 8)
    assert (
        found["digest"] == splits.digest and truncation.summary() in found["sentences"]
    )
    json.dumps(found)
    without = report.describe_data(splits, max_length=None)
    assert without["longest"] is None and without["truncated"] is None


def test_the_environment_names_versions_and_processor():
    found = report.describe_environment(["numpy", "no-such-package"])
    assert found["packages"] == {"numpy": np.__version__}
    assert found["cpu"]["num_cores"] >= 1 and found["cpu"]["name"]
    json.dumps(found)


def test_the_environment_is_described_where_the_system_tells_less(monkeypatch):
    def refuse(self, *args, **kwargs):
        raise FileNotFoundError(errno.ENOENT, "no such file", str(self))

    monkeypatch.setattr(Path, "read_text", refuse)
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(os, "sysconf", lambda name: (_ for _ in ()).throw(ValueError))
    found = report.describe_environment([])["cpu"]
    assert found["features"] is None and found["memory_bytes"] is None
    assert found["num_cores"] >= 1


def test_the_device_is_described():
    found = report.describe_device()
    assert found["kind"] in ("cpu", "cuda", "mps") and found["num_threads"] >= 1
    json.dumps(found)


def test_a_gpu_is_described(monkeypatch):
    import torch

    properties = types.SimpleNamespace(
        name="a card", total_memory=1 << 34, major=8, minor=0
    )
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
    found = report.describe_device()
    assert (found["kind"], found["name"], found["capability"]) == (
        "cuda",
        "a card",
        "8.0",
    )
    assert "device memory" in page_of(device=found).text
