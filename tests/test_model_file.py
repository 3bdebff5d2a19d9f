"""`.keras` files of somebody hostile, and of an innocent plain Keras process."""

import io
import json
import pickle
import warnings
import zipfile

import pytest
import tiny
from exporting_case import TEXTS, build_task

import kbert

PLANTED = "the planted code ran"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "model.keras"
    tiny.build_model(compile=False).save(path)
    return path


def rewrite(saved, path, change=None, **members):
    """Copy a file with its configuration changed and members added or replaced."""
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(path, "w") as new:
        for item in old.infolist():
            data = old.read(item)
            if item.filename == "config.json" and change is not None:
                config = json.loads(data)
                change(config["config"])
                data = json.dumps(config).encode()
            if item.filename not in members:
                new.writestr(item.filename, data)
        for name, data in members.items():
            new.writestr(name, data, zipfile.ZIP_DEFLATED)
    return path


def replace_layer(**values):
    """Return a change that puts another object in the place of the head."""

    def change(config):
        config["layers"][-1] |= values

    return change


class Planted:
    def __reduce__(self):
        return (exec, (f"raise SystemExit({PLANTED!r})",))


LAMBDA = {
    "class_name": "Lambda",
    "module": "keras.layers",
    "registered_name": None,
    "config": {
        "name": "probabilities",
        "function": {
            "class_name": "__lambda__",
            "config": {"code": "4wEAAAA=", "defaults": None, "closure": None},
        },
    },
}
OBJECTS = {
    "a Lambda layer": replace_layer(**LAMBDA),
    "a lambda in a layer": lambda config: config["layers"][-1]["config"].update(
        activation=LAMBDA["config"]["function"]
    ),
    "os.system": replace_layer(
        class_name="system", module="os", registered_name=None, config=PLANTED
    ),
    "a registered name that is none": replace_layer(
        class_name="system", module="os", registered_name="os>system"
    ),
    "eval": replace_layer(
        class_name="eval", module="builtins", registered_name="builtins>eval"
    ),
    "a function of a module": lambda config: config["layers"][-1]["config"].update(
        activation={
            "class_name": "function",
            "module": "subprocess",
            "config": "getoutput",
            "registered_name": "getoutput",
        }
    ),
    "a download": replace_layer(
        class_name="get_file",
        module="keras.utils",
        registered_name=None,
        config={"fname": "x", "origin": "file:///etc/hostname"},
    ),
    "kbert's own code": replace_layer(
        class_name="main", module="kbert.cli", registered_name=None, config={}
    ),
}


@pytest.mark.parametrize("planted", OBJECTS)
def test_no_object_of_a_file_runs_code(planted, saved, tmp_path):
    path = rewrite(saved, tmp_path / "hostile.keras", OBJECTS[planted])
    with pytest.raises(ValueError, match="cannot be loaded") as raised:
        kbert.load_model(path)
    assert "\n" not in str(raised.value) and PLANTED not in str(raised.value)
    assert [p.name for p in tmp_path.iterdir()] == ["hostile.keras"]


@pytest.mark.parametrize(
    "name", ["assets/tokenizer.json", "model.weights.npz", "model.pkl", "data.pkl"]
)
def test_a_planted_pickle_is_never_opened(name, saved, tmp_path):
    path = rewrite(saved, tmp_path / "a.keras", **{name: pickle.dumps(Planted())})
    try:
        kbert.load_model(path)
    except ValueError as error:
        assert PLANTED not in str(error)


def test_pickled_weights_are_not_read(saved, tmp_path):
    import numpy as np

    weights = io.BytesIO()
    np.savez(weights, layers=np.array([Planted()], dtype=object))
    path = tmp_path / "a.keras"
    rewrite(saved, path, **{"model.weights.npz": weights.getvalue()})
    with zipfile.ZipFile(path) as old:
        kept = {n: old.read(n) for n in old.namelist() if n != "model.weights.h5"}
    with zipfile.ZipFile(path, "w") as new:
        for name, data in kept.items():
            new.writestr(name, data)
    with pytest.raises(ValueError, match="cannot be loaded"):
        kbert.load_model(path)


@pytest.mark.parametrize(
    "name", ["../outside.txt", "/tmp/outside.txt", "assets/../../x", "a\\..\\..\\x"]
)
def test_no_part_of_a_file_is_written_elsewhere(name, saved, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    path = rewrite(saved, folder / "a.keras", **{name: b"planted"})
    with pytest.raises(ValueError, match="would be written outside of the file"):
        kbert.load_model(path)
    assert [p.name for p in tmp_path.rglob("*")] == ["in", "a.keras"]


@pytest.mark.parametrize("name", ["model.weights.h5", "config.json", "assets/x"])
def test_a_part_that_unpacks_to_far_more_than_the_file_is_refused(
    name, saved, tmp_path
):
    bomb = bytes(60_000_000)  # zeros shrink to a thousandth
    path = rewrite(saved, tmp_path / "bomb.keras", **{name: bomb})
    with pytest.raises(ValueError, match="unpacks to 60,000,000 bytes, out of"):
        kbert.load_model(path)


@pytest.mark.parametrize("text", [b"[" * 100_000, b"{}", b"\xff\xfe", b""])
def test_a_configuration_that_is_none_is_one_sentence(text, saved, tmp_path):
    path = rewrite(saved, tmp_path / "a.keras", **{"config.json": text})
    with pytest.raises(ValueError, match="damaged or no|holds no Keras") as raised:
        kbert.load_model(path)
    assert "\n" not in str(raised.value)


def test_a_members_name_twice_is_no_way_in(saved, tmp_path):
    path = tmp_path / "a.keras"
    path.write_bytes(saved.read_bytes())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(path, "a") as archive:
            config = json.loads(archive.read("config.json"))
            OBJECTS["os.system"](config["config"])
            archive.writestr("config.json", json.dumps(config))
    with pytest.raises(ValueError, match=r"asks for os\.system"):
        kbert.load_model(path)


def test_an_answering_models_file_is_read(tmp_path):
    model = build_task("answer")
    model.save(tmp_path / "a.keras")
    found = kbert.load_model(tmp_path / "a.keras").predict(TEXTS[:1])
    assert (found == model.predict(TEXTS[:1])).all()


def test_a_run_folder_loads_as_its_model(tmp_path):
    model = tiny.build_model(compile=False)
    model.save(tmp_path / "model.keras")
    found = kbert.load_model(tmp_path).predict(TEXTS)
    assert (found == model.predict(TEXTS)).all()


@pytest.mark.slow
@pytest.mark.parametrize("imports", ["kbert, keras", "keras, kbert"])
def test_a_file_opens_in_a_plain_keras_process_that_imports_kbert(imports, saved):
    printed = tiny.run_python(
        f"import os, {imports}\n"
        "model = keras.saving.load_model(os.environ['MODEL'])\n"
        f"print(model.predict({TEXTS!r}).tobytes().hex())",
        MODEL=str(saved),
        KERAS_BACKEND="torch",
    )
    expected = kbert.load_model(saved).predict(TEXTS)
    assert printed.strip().splitlines()[-1] == expected.tobytes().hex()


@pytest.mark.slow
def test_keras_may_first_be_imported_by_any_part_of_kbert():
    code = "import kbert.engine.backbone, sys; print('kbert.models' in sys.modules)"
    assert tiny.run_python(code + "; import kbert.models") == "False\n"
