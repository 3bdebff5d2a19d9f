"""The pages of docs/: every code block runs, every link leads somewhere, they build."""

import ast
import contextlib
import dataclasses
import doctest
import html.parser
import inspect
import io
import os
import re
import shlex
import socket
import subprocess
import sys
import types
from pathlib import Path

import keras
import numpy as np
import pytest
import tiny

import kbert
from kbert.commands.main import main as kbert_command
from kbert.presets import EMBEDDED_PRESET, Preset
from kbert.tasks import TASKS
from kbert.tasks.answer import Answer
from kbert.tasks.tag import TaggedText

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(path.stem for path in DOCS.glob("*.md"))
# Folders of real data that a page's working directory has; the others need none.
DATA = {
    "imdb-amazon": ("imdb", "amazon"),
    "mrpc": ("mrpc",),
    "spam": ("spam",),
    "thirty-questions": ("imdb",),
    "tweets": ("tweets",),
}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
# "..." in what a page shows stands for what varies.
MATCHES = doctest.OutputChecker().check_output
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclasses.dataclass(frozen=True)
class Block:
    language: str
    line: int
    code: str
    shown: str | None = None  # what the page says that it prints


def read_page(page: str) -> str:
    return (DOCS / f"{page}.md").read_text("utf-8")


def read_blocks(page: str) -> list[Block]:
    """Return the fenced blocks; a text block right after code is what it prints."""
    text = read_page(page)
    blocks: list[Block] = []
    end = -1
    for match in FENCE.finditer(text):
        language, code = match.groups()
        follows = blocks and blocks[-1].language in ("python", "sh")
        if language == "text" and follows and not text[end : match.start()].strip():
            blocks[-1] = dataclasses.replace(blocks[-1], shown=code)
        else:
            line = text.count("\n", 0, match.start()) + 2
            blocks.append(Block(language, line, code))
        end = match.end()
    return blocks


def read_prose(page: str) -> str:
    return FENCE.sub("", read_page(page))


def run_block(block: Block, page: str, namespace: dict) -> str:
    source = "\n" * (block.line - 1) + block.code  # so that a traceback has the line
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(source, f"docs/{page}.md", "exec"), namespace)
    return printed.getvalue()


def run_commands(block: Block) -> str:
    """Run the lines of a shell block that call kbert; return what they print."""
    printed = io.StringIO()
    for line in block.code.replace("\\\n", " ").splitlines():
        if line.startswith("kbert "):
            with contextlib.redirect_stdout(printed):
                assert kbert_command(shlex.split(line)[1:]) == 0, line
    return printed.getvalue()


def refuse(*args, **kwargs):
    raise AssertionError("a page reached for the network")


def run_page(page: str) -> None:
    """Run a page's blocks one after the other, and compare what they print."""
    namespace: dict = {"__name__": "__main__"}
    for block in read_blocks(page):
        if block.language == "python":
            printed = run_block(block, page, namespace)
        elif block.language == "sh":
            printed = run_commands(block)
        else:
            continue
        if block.shown is not None:
            where = f"docs/{page}.md, line {block.line}, printed:\n{printed}"
            assert MATCHES(block.shown, printed, FLAGS), where


@pytest.fixture
def workplace(tmp_path, monkeypatch) -> Path:
    """An empty folder to work in, and no network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return tmp_path


@pytest.fixture(scope="module")
def narrow_preset() -> Preset:
    """The embedded preset with its own tokenizer and layers, but 24 wide: quick."""
    preset = kbert.load_preset(EMBEDDED_PRESET)
    shape = dataclasses.asdict(preset.config)
    shape |= {"hidden_dim": 24, "intermediate_dim": 48}
    narrow = tiny.build_preset(**shape, pooling=preset.pooling)
    return dataclasses.replace(narrow, name=preset.name, tokenizer=preset.tokenizer)


@pytest.fixture
def in_its_place(narrow_preset, monkeypatch) -> None:
    load_preset = kbert.load_preset

    def load(name):
        return narrow_preset if name == EMBEDDED_PRESET else load_preset(name)

    monkeypatch.setattr(kbert, "load_preset", load)
    monkeypatch.setattr("kbert.models.load_preset", load)


def test_the_first_page_runs_and_prints_what_it_shows(workplace, in_its_place):
    run_page("index")


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [p for p in PAGES if "```python" in read_page(p) and p != "index"]
)
def test_every_page_runs_and_prints_what_it_shows(
    page, workplace, in_its_place, shared_data
):
    for name in DATA.get(page, ()):
        (workplace / name).symlink_to(shared_data(name))
    run_page(page)


@pytest.mark.slow
def test_the_first_page_runs_with_the_encoder_that_it_names(workplace):
    run_page("index")


@pytest.mark.parametrize("page", PAGES)
def test_every_block_has_a_language_that_is_checked(page):
    blocks = read_blocks(page)
    assert read_page(page).count("\n```") == 2 * len(blocks) + 2 * sum(
        block.shown is not None for block in blocks
    )
    assert {block.language for block in blocks} <= {"python", "sh"}


@pytest.mark.parametrize("page", PAGES)
def test_kbert_is_imported_before_keras(page):
    # Here KERAS_BACKEND is set; where it is not, Keras would choose TensorFlow.
    names = re.findall(r"^(?:import|from) (kbert|keras)\b", read_page(page), re.M)
    assert "keras" not in names or names[0] == "kbert"


# === Names and links ===


def find_calls(page: str) -> list[str]:
    """Return what stands in code font and starts like a name of kbert or Keras."""
    codes = re.findall(r"`([^`\n]+)`", read_prose(page))
    pattern = r"(?:kbert|keras|model)\.[\w.]+(?:\(.*\))?"
    return [code for code in codes if re.fullmatch(pattern, code)]


@pytest.mark.parametrize("page", PAGES)
def test_every_call_named_in_the_prose_exists(page):
    for code in find_calls(page):
        if code.endswith((".py", ".keras")):
            continue
        tree = ast.parse(code, mode="eval").body
        name = ast.unparse(tree.func if isinstance(tree, ast.Call) else tree)
        value = find_value(name)
        if isinstance(tree, ast.Call):
            check_keywords(code, value, [k.arg for k in tree.keywords if k.arg])


def find_value(name: str):
    first, *rest = name.split(".")
    value = {"kbert": kbert, "keras": keras, "model": kbert.Model}[first]
    for part in rest:
        # Set in the constructor, so not on the class.
        if value is kbert.Model and part in ("preprocessor", "label_names"):
            return kbert.Preprocessor
        value = getattr(value, part)
    return value


def check_keywords(code: str, value, names: list[str]) -> None:
    parameters = inspect.signature(value).parameters
    if "kwargs" in parameters:  # `fit` and `evaluate` hand the others on to Keras
        own = getattr(keras.Model, value.__name__, None)
        parameters = parameters | (inspect.signature(own).parameters if own else {})
    assert set(names) <= set(parameters), code


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_to_a_page_and_a_heading(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", read_prose(page)):
        if target.startswith("https://"):
            continue
        name, _, heading = target.partition("#")
        other = Path(name).stem if name else page
        assert (DOCS / f"{other}.md").is_file(), target
        assert not heading or heading in find_anchors(other), target


def find_anchors(page: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", read_prose(page), re.M)
    plain = (re.sub(r"[^\w\s-]", "", h).strip().lower() for h in headings)
    return {re.sub(r"[\s-]+", "-", heading) for heading in plain}


def test_predictions_have_the_columns_that_the_page_lists():
    page = read_page("your-own-data").partition("What `kbert predict` adds")[2]
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", page, re.M)
    model = types.SimpleNamespace(label_names=("a", "b"), metadata={})
    place, tag = np.array([[0, 1]]), np.array([1])
    predictions = {
        "classify": np.array([[0.3, 0.7]]),
        "multilabel": np.array([[0.3, 0.7]]),
        "regress": np.array([0.5]),
        "tag": [TaggedText("x", place, tag, np.ones(1), ("O", "B-PER"))],
        "answer": [Answer("x", 0, 1, 0.5)],
    }
    assert [name for name, _ in rows] == list(TASKS)
    for name, cell in rows:
        columns = TASKS[name].tabulate(model, ["x"], predictions[name])
        added = dict.fromkeys(re.sub("_[ab]$", "_<label>", one) for one in columns)
        assert re.findall("`([^`]+)`", cell) == list(added), name


def test_every_file_named_in_code_font_exists():
    for page in PAGES:
        for path in re.findall(r"`((?:kbert|recipes|docs)/[\w/.-]+)`", read_page(page)):
            assert (ROOT / path).exists(), f"{page}: {path}"


# === Coming from the Trainer ===

TRAINER = "coming-from-the-trainer"
# Where the fields of the table of defaults have theirs here.
OWN_DEFAULTS = {
    "learning_rate": (kbert.adamw, "learning_rate"),
    "lr_scheduler_type": (kbert.adamw, "schedule"),
    "weight_decay": (kbert.adamw, "weight_decay"),
    "per_device_train_batch_size": (kbert.adamw, "batch_size"),
    "num_train_epochs": (kbert.Model.fit, "epochs"),
    "adam_beta1": (kbert.adamw, "beta_1"),
    "adam_beta2": (kbert.adamw, "beta_2"),
    "adam_epsilon": (kbert.adamw, "epsilon"),
    "max_grad_norm": (kbert.adamw, "global_clipnorm"),
}


def read_table(heading: str) -> dict[str, str]:
    """Return the rows of the table below a heading: first cell to the others."""
    table = read_page(TRAINER).partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", table, re.M)
    assert rows and len(rows) == len(dict(rows)), "no row, or two for one name"
    return dict(rows)


@pytest.fixture(scope="module")
def fields() -> dict:
    transformers = pytest.importorskip("transformers")
    return {f.name: f for f in dataclasses.fields(transformers.TrainingArguments)}


def test_every_field_of_training_arguments_has_a_row(fields):
    rows = read_table("Every field of TrainingArguments")
    assert set(rows) == set(fields)
    for name, answer in rows.items():
        says_why = re.match(r"(not (needed|there): |the )\w", answer)
        assert says_why or "`" in answer, f"{name}: {answer}"


def test_defaults_are_those_of_both(fields):
    rows = read_table("Defaults side by side")
    assert set(rows) == set(OWN_DEFAULTS)
    for name, shown in rows.items():
        function, argument = OWN_DEFAULTS[name]
        own = inspect.signature(function).parameters[argument].default
        default = fields[name].default
        assert shown == f"{getattr(default, 'value', default)} | {own}", name


def test_older_names_are_no_fields_any_more(fields):
    assert not set(read_table("Names in older scripts")) & set(fields)


# === The site ===


class Resources(html.parser.HTMLParser):
    """What a browser fetches for a page; links that a reader clicks are not."""

    def __init__(self, page: str):
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if tag == "link" and values.get("rel") in ("prev", "next", "canonical"):
            return
        if tag != "a":
            self.found += [values[k] for k in ("src", "srcset", "data") if k in values]
            self.found += [values["href"]] if "href" in values else []


def build_site(root: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Build as `make docs` does; --quiet would hide warnings from --strict."""
    pytest.importorskip("mkdocs", reason="mkdocs is absent; install kbert[docs]")
    pytest.importorskip("material", reason="its theme is absent; install kbert[docs]")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict"]
    return subprocess.run(
        [*command, "--site-dir", str(folder)],
        cwd=root,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build_site(ROOT, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_site_has_every_page(site):
    assert {page for page in PAGES if (site / f"{page}.html").is_file()} == set(PAGES)


def test_the_site_loads_nothing_from_other_hosts(site):
    resources = 0
    for path in site.rglob("*.html"):
        for address in Resources(path.read_text("utf-8")).found:
            resources += 1
            assert not re.match(r"(https?:)?//", address), f"{path.name}: {address}"
    assert resources > len(PAGES)
    for path in site.rglob("*.css"):
        imported = re.findall(
            r"(?:url\(|@import )[\"']?((?:https?:)?//[^)\"']+)", path.read_text("utf-8")
        )
        assert not imported, f"{path.name}: {imported}"


@pytest.mark.parametrize("link", ["nowhere.md", "#nothing", "/absolute.md"])
def test_a_broken_link_is_an_error(link, tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text(f"[x]({link})\n", "utf-8")
    config = (ROOT / "mkdocs.yml").read_text("utf-8").partition("\nnav:")[0]
    (tmp_path / "mkdocs.yml").write_text(config, "utf-8")
    done = build_site(tmp_path, tmp_path / "site")
    assert done.returncode and link in done.stderr, done.stdout + done.stderr
