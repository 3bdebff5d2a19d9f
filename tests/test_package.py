"""What importing kbert does and does not do; which way its imports go."""

import ast
import inspect
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import kbert

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "kbert"
HEAVY = (
    "datasets",
    "keras",
    "keras_hub",
    "matplotlib",
    "pandas",
    "sklearn",
    "tensorflow",
    "tensorflow_text",
    "torch",
    "transformers",
)
# Lower layers never import higher ones. Modules of one row may import each other.
LAYERS = (
    ("data", "status_line", "writing"),
    (
        "augmentation",
        "cleaning",
        "tokenizer",
        "token_spans",
        "ragged",
        "long_texts",
        "encoded",
        "text",
    ),
    ("presets", "engine"),
    (
        "rows",
        "batches",
        "checkpoints",
        "loaders",
        "model_file",
        "rewriting",
        "rounding",
        "saved_model",
        "text_model",
        "token_heads",
        "models",
        "training",
        "callbacks",
        "devices",
    ),
    ("evaluation",),
    ("tasks",),
    ("inspection", "exporting", "explaining"),
    ("report",),
    ("runs",),
    ("cli", "commands", "recipes", "__main__"),
)
PUBLIC_NAMES = [
    "Model",
    "Preprocessor",
    "PresetError",
    "Split",
    "Splits",
    "TrainedRun",
    "__version__",
    "adamw",
    "augmentation",
    "build_classifier",
    "callbacks",
    "data",
    "engine",
    "evaluate",
    "evaluation",
    "export",
    "explain",
    "freeze",
    "inspect",
    "list_presets",
    "load_backbone",
    "load_model",
    "load_preset",
    "load_run",
    "load_split",
    "load_splits",
    "models",
    "predict",
    "presets",
    "report",
    "set_seed",
    "tasks",
    "text",
    "train",
    "training",
    "unfreeze",
    "write_report",
]


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**inherited, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_exported_names_are_these():
    assert kbert.__all__ == PUBLIC_NAMES
    assert set(PUBLIC_NAMES) <= set(dir(kbert))


@pytest.mark.parametrize("name", PUBLIC_NAMES)
def test_every_exported_name_loads(name):
    assert getattr(kbert, name) is not None


def test_every_public_name_is_tested():
    here = Path(__file__)
    tests = " ".join(
        p.read_text("utf-8") for p in here.parent.glob("*.py") if p != here
    )
    values = [getattr(kbert, name) for name in PUBLIC_NAMES]
    for module in (kbert, *filter(inspect.ismodule, values)):
        for name in getattr(module, "__all__", ()):
            assert re.search(rf"\b{name}\b", tests), f"{module.__name__}.{name}"


@pytest.mark.parametrize("name", PUBLIC_NAMES)
def test_every_exported_callable_is_documented(name):
    if callable(value := getattr(kbert, name)):
        assert value.__doc__ and len(value.__doc__.splitlines()[0]) > 10


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'bulid_classifier'"):
        _ = kbert.bulid_classifier


def test_version_is_the_changelogs_newest():
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert re.search(r"^## \[?(\d+\.\d+\.\d+)", changelog, re.M)[1] == kbert.__version__


def test_import_is_quick_and_imports_nothing_heavy():
    done = run_python(
        "import sys, time; started = time.perf_counter(); import kbert; dir(kbert);"
        "seconds = time.perf_counter() - started;"
        f"heavy = sorted(set({HEAVY!r}) & set(sys.modules));"
        "assert not heavy, heavy; assert seconds < 1, seconds;"
        "import os; assert os.environ['KERAS_BACKEND'] == 'torch'"
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "module",
    [
        "data",
        "augmentation",
        "text",
        "presets",
        "evaluation",
        "inspection",
        "report",
        "cli",
    ],
)
def test_modules_below_the_models_import_neither_keras_nor_torch(module):
    done = run_python(
        f"import sys, kbert.{module};"
        f"heavy = sorted(set({HEAVY!r}) & set(sys.modules)); assert not heavy, heavy"
    )
    assert done.returncode == 0, done.stderr


def test_another_backend_is_refused_in_one_sentence():
    done = run_python("import kbert", KERAS_BACKEND="jax")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "RuntimeError: kbert needs the torch backend; KERAS_BACKEND is 'jax'. "
        "Unset it, or set KERAS_BACKEND=torch."
    )


FAKE_KERAS = (
    "import sys, types; keras = sys.modules['keras'] = types.ModuleType('keras');"
    "keras.config = types.SimpleNamespace(backend=lambda: 'tensorflow');"
)


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(FAKE_KERAS, id="imitated"),
        pytest.param("import keras;", id="real", marks=pytest.mark.slow),
    ],
)
def test_another_backend_is_refused_when_keras_was_imported_first(first):
    done = run_python(first + "import kbert", KERAS_BACKEND="tensorflow")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "RuntimeError: kbert needs the torch backend; Keras loaded 'tensorflow'. "
        "Import kbert before keras, or set KERAS_BACKEND=torch."
    )


@pytest.mark.slow
def test_keras_imported_first_on_torch_is_fine():
    done = run_python("import keras, kbert", KERAS_BACKEND="torch")
    assert done.returncode == 0, done.stderr


def imports_of(path: Path) -> set[str]:
    """First-level kbert modules that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        found |= {n.split(".")[1] for n in names if n.startswith("kbert.")}
    return found


def level_of(module: str) -> int | None:
    return next((i for i, row in enumerate(LAYERS) if module in row), None)


def source_files() -> list[Path]:
    return sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", source_files(), ids=lambda p: p.stem)
def test_imports_go_one_way(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert level_of(own) is not None, f"name the layer of kbert.{own} in LAYERS"
    for module in imports_of(path):
        level = level_of(module)
        assert level is None or level <= level_of(own), f"{own} imports {module}"


def test_every_file_is_short():
    lengths = {p: len(p.read_text("utf-8").splitlines()) for p in source_files()}
    assert not {str(p): n for p, n in lengths.items() if n > 400}


def test_every_direct_import_is_a_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    requirements = project["dependencies"]
    declared = {re.split(r"[<>=!; \[]", d)[0] for d in requirements}
    declared = {name.lower().replace("-", "_") for name in declared}
    extras = [d for group in project["optional-dependencies"].values() for d in group]
    optional = {re.split(r"[<>=!; \[]", d)[0].lower() for d in extras}
    known_as = {"sklearn": "scikit_learn"}
    for path in source_files():
        tree = ast.parse(path.read_text("utf-8"))
        for node in ast.walk(tree):
            names = []
            # What an extra brings is imported where it is needed, never with a module.
            allowed = declared if node in tree.body else declared | optional
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            for name in {n.split(".")[0] for n in names} - {"kbert"}:
                assert (
                    name in sys.stdlib_module_names
                    or known_as.get(name, name) in allowed
                ), f"{path.name} imports {name}, which pyproject.toml does not name"


def test_every_dependency_has_a_tested_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = [d for group in project["optional-dependencies"].values() for d in group]
    lines = (ROOT / "constraints.txt").read_text("utf-8").lower().splitlines()
    pinned = {line.split("==")[0].replace("_", "-") for line in lines if "==" in line}
    for requirement in project["dependencies"] + extras:
        name = re.split(r"[<>=!; \[]", requirement)[0].lower().replace("_", "-")
        assert name in pinned, f"{name} has no version in constraints.txt"
