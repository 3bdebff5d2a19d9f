"""One .keras file: whole, readable anywhere, refused in one sentence when it is not."""

import json
import os
import stat
import zipfile

import keras
import numpy as np
import pytest
import tiny

import kbert
from kbert.engine import precision
from kbert.engine.lean import without_tensorflow
from kbert.engine.precision import CpuProbe
from kbert.saved_model import FILE_FORMAT

TEXTS, LABELS = tiny.write_texts(24, seed=31)
BLOCKED = ("tensorflow", "tensorflow_text", "keras_hub", "transformers")


@pytest.fixture(scope="module")
def trained():
    model = tiny.build_model(clean="fixed", max_length=12)
    model.fit(TEXTS, LABELS, 8, 1, 0)
    return model


@pytest.fixture
def saved(trained, tmp_path):
    trained.save(tmp_path / "model.keras")
    return tmp_path / "model.keras"


# === There and back ===


@pytest.mark.parametrize("family", ["bert", "distil_bert", "roberta"])
@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_a_loaded_model_gives_the_same_probabilities(family, head, tmp_path):
    model = tiny.build_model(family, head=head)
    model.save(tmp_path / "model.keras")
    loaded = kbert.load_model(tmp_path / "model.keras")
    assert type(loaded) is kbert.Model
    np.testing.assert_array_equal(loaded.predict(TEXTS), model.predict(TEXTS))
    assert loaded.label_names == ("negative", "positive")


def test_text_handling_comes_back(trained, saved):
    loaded = kbert.load_model(saved)
    assert loaded.preprocessor.get_config() == trained.preprocessor.get_config()
    assert loaded.preprocessor.tokenizer == trained.preprocessor.tokenizer
    assert loaded.backbone.config == trained.backbone.config
    assert loaded.backbone.precision == "float32"
    with zipfile.ZipFile(saved) as archive:
        assert any("tokenizer.json" in name for name in archive.namelist())


def test_an_automatic_precision_comes_back_as_it_was(tmp_path, monkeypatch):
    def pretend(gain: float) -> None:
        monkeypatch.setattr(precision, "probe_cpu", lambda: CpuProbe(gain, 0.0))

    pretend(2.5)
    model = tiny.build_model(precision="auto")
    expected = model.predict(TEXTS)
    model.save(tmp_path / "model.keras")
    pretend(1.1)  # as a probe may say of a busier machine
    loaded = kbert.load_model(tmp_path / "model.keras")
    assert loaded.backbone.precision == "auto"
    np.testing.assert_array_equal(loaded.predict(TEXTS), expected)
    loaded.backbone.precision = "float32"
    assert np.abs(loaded.predict(TEXTS) - expected).max() > 0


def test_pooling_over_tokens_comes_back(tmp_path):
    model = tiny.build_model(pooling="mean")
    model.save(tmp_path / "model.keras")
    loaded = kbert.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(TEXTS), model.predict(TEXTS))


@pytest.mark.slow
def test_training_goes_on_where_it_stopped(tmp_path):
    optimizer = kbert.adamw(
        1e-2, schedule="linear", warmup=2, epochs=2, examples=24, batch_size=8
    )
    model = tiny.build_model(optimizer=optimizer)
    model.fit(TEXTS, LABELS, 8, 1, 0)
    model.save(tmp_path / "model.keras")
    loaded = kbert.load_model(tmp_path / "model.keras")
    assert int(loaded.optimizer.iterations) == 3
    assert loaded.optimizer.get_config() == model.optimizer.get_config()
    for one in (model, loaded):
        kbert.set_seed(3)
        one.fit(TEXTS, LABELS, 8, 1, 0)
    tiny.assert_same_weights(model, loaded)
    assert loaded.evaluate(TEXTS, LABELS, verbose=0) == model.evaluate(
        TEXTS, LABELS, verbose=0
    )


def test_compile_false_leaves_the_training_out(saved, trained):
    loaded = kbert.load_model(saved, compile=False)
    assert loaded.optimizer is None
    np.testing.assert_array_equal(loaded.predict(TEXTS), trained.predict(TEXTS))


def test_a_model_that_was_not_compiled_saves(tmp_path):
    model = tiny.build_model(compile=False)
    model.save(tmp_path / "model.keras")
    loaded = kbert.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(TEXTS), model.predict(TEXTS))


def test_a_model_by_hand_saves_without_text_handling(tmp_path):
    backbone = kbert.load_backbone(tiny.build_preset(), precision="float32")
    x = backbone(backbone.input)["pooled_output"]
    model = kbert.Model(backbone.input, keras.layers.Dense(3)(x))
    model.save(tmp_path / "model.keras")
    loaded = kbert.load_model(tmp_path / "model.keras")
    assert loaded.preprocessor is None and loaded.label_names is None
    arrays = tiny.build_model(compile=False).preprocessor(TEXTS)
    np.testing.assert_array_equal(loaded.predict(arrays), model.predict(arrays))


def test_a_frozen_model_comes_back_frozen(tmp_path):
    model = tiny.build_model()
    kbert.freeze(model, 1, embeddings=True)
    model.compile(kbert.adamw(1e-3), "sparse_categorical_crossentropy")
    model.save(tmp_path / "model.keras")
    loaded = kbert.load_model(tmp_path / "model.keras")
    paths = [weight.path for weight in model.trainable_variables]
    assert [weight.path for weight in loaded.trainable_variables] == paths


def test_weights_alone_save_and_load(trained, tmp_path):
    trained.save_weights(tmp_path / "model.weights.h5")
    other = tiny.build_model(seed=8, clean="fixed", max_length=12)
    other.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(other.predict(TEXTS), trained.predict(TEXTS))


IN_A_NEW_PROCESS = f"""
import sys, warnings
for name in {BLOCKED!r}:
    sys.modules[name] = None
warnings.simplefilter("error")
warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
import os, keras, numpy as np, kbert, tiny
path, texts = os.environ["MODEL"], {TEXTS!r}
model = kbert.load_model(path)
print(model.predict(texts).tobytes().hex())
by_keras = keras.saving.load_model(path)
print(type(by_keras) is kbert.Model, by_keras.label_names)
print(by_keras.predict(texts).tobytes().hex())
# The whole way from a preset, with the same modules out of reach.
model = tiny.build_model()
model.fit(texts, {LABELS.tolist()!r}, 8, 1, 0, class_weight="balanced",
          validation_data=(texts, {LABELS.tolist()!r}))
model.save(path)
print(np.array_equal(kbert.load_model(path).predict(texts), model.predict(texts)))
try:
    model = kbert.build_classifier("all_minilm_l6_v2_en", ["a", "b"], max_length=8)
    print(model.predict(["a film"]).shape == (1, 2))
except kbert.PresetError as error:
    print("embedded" in str(error) or error)
print(sorted(name for name in {BLOCKED!r} if sys.modules.get(name) is not None))
"""


@pytest.mark.slow
def test_a_new_process_without_tensorflow_gives_the_same_bits(trained, saved):
    expected = trained.predict(TEXTS).tobytes().hex()
    environment = {"MODEL": str(saved), "KERAS_BACKEND": "torch"}
    lines = tiny.run_python(IN_A_NEW_PROCESS, **environment).splitlines()
    assert lines[0] == expected
    assert lines[1] == "True ('negative', 'positive')"
    assert lines[2] == expected
    assert lines[3:] == ["True", "True", "[]"]


NOT_IMPORTED = f"""
import sys, kbert, tiny, os
model = tiny.build_model()
model.fit({TEXTS!r}, {LABELS.tolist()!r}, 8, 1, 0)
model.evaluate({TEXTS!r}, {LABELS.tolist()!r}, verbose=0)
model.save(os.environ["MODEL"])
kbert.load_model(os.environ["MODEL"]).predict(["a film"])
print(sorted(set({BLOCKED!r}) & set(sys.modules)))
"""


@pytest.mark.slow
def test_nothing_imports_tensorflow_where_it_is_installed(tmp_path):
    found = tiny.run_python(NOT_IMPORTED, MODEL=str(tmp_path / "model.keras"))
    assert found.strip() == "[]"


# === Files that cannot be read ===


def edit_config(path, change):
    """Rewrite the configuration inside a saved file."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(parts["config.json"])
    change(config)
    parts["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


def sentence_of(path, kind=ValueError) -> str:
    with pytest.raises(kind) as caught:
        kbert.load_model(path)
    message = str(caught.value)
    assert "\n" not in message and path.name in message
    return message


def test_a_missing_file_is_one_sentence(tmp_path):
    path = tmp_path / "nowhere.keras"
    assert "there is no model file" in sentence_of(path, FileNotFoundError)
    assert "there is no model file" in sentence_of(tmp_path, FileNotFoundError)


def test_a_file_of_a_newer_kbert_is_one_sentence(saved):
    newer = FILE_FORMAT + 1
    edit_config(saved, lambda c: c["config"]["kbert"].update(format=newer))
    message = sentence_of(saved)
    assert f"file format {newer}" in message and "Upgrade kbert" in message
    with pytest.raises((TypeError, ValueError), match="Upgrade kbert"):
        with without_tensorflow():
            keras.saving.load_model(saved)


@pytest.mark.parametrize(
    "content",
    [b"", b"no archive at all", b"PK\x03\x04" + b"\0" * 40, b"\x80\x04K\x01."],
    ids=["empty", "text", "header", "pickle"],
)
def test_a_file_that_is_no_archive_is_one_sentence(content, tmp_path):
    path = tmp_path / "model.keras"
    path.write_bytes(content)
    assert "damaged or no .keras file" in sentence_of(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_one_sentence(saved, share):
    content = saved.read_bytes()
    saved.write_bytes(content[: int(len(content) * share)])
    assert "damaged" in sentence_of(saved)


def test_flipped_bytes_are_noticed(saved):
    content = bytearray(saved.read_bytes())
    middle = len(content) // 2
    for place in range(middle, middle + 64):
        content[place] ^= 0xFF
    saved.write_bytes(content)
    assert "damaged" in sentence_of(saved)


@pytest.mark.parametrize("missing", ["config.json", "model.weights.h5"])
def test_an_archive_that_lacks_a_part_is_one_sentence(saved, missing):
    with zipfile.ZipFile(saved) as archive:
        parts = {n: archive.read(n) for n in archive.namelist() if n != missing}
    with zipfile.ZipFile(saved, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    assert "damaged" in sentence_of(saved) or "cannot be loaded" in sentence_of(saved)


@pytest.mark.parametrize("config", ["[]", "null", "{}", "3", '{"config": null}'])
def test_a_configuration_of_something_else_is_one_sentence(saved, config):
    with zipfile.ZipFile(saved) as archive:
        parts = {n: archive.read(n) for n in archive.namelist()}
    parts["config.json"] = config.encode()
    with zipfile.ZipFile(saved, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    sentence_of(saved)


def test_weights_of_another_shape_are_one_sentence(saved):
    def widen(config):
        for layer in config["config"]["layers"]:
            if layer["class_name"] == "Backbone":
                layer["config"]["config"]["hidden_dim"] = 32

    edit_config(saved, widen)
    assert "cannot be loaded" in sentence_of(saved)


def test_another_models_file_is_one_sentence(tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    with without_tensorflow():
        model.save(tmp_path / "model.keras")
    message = sentence_of(tmp_path / "model.keras")
    assert "holds a Sequential, not a kbert model" in message


def test_code_in_a_file_is_not_run(tmp_path):
    proof = tmp_path / "proof"

    def plant(x):
        import pathlib

        pathlib.Path(proof).touch()
        return x

    backbone = kbert.load_backbone(tiny.build_preset(), precision="float32")
    x = keras.layers.Lambda(plant)(backbone(backbone.input)["pooled_output"])
    model = kbert.Model(backbone.input, keras.layers.Dense(2)(x))
    model.save(tmp_path / "model.keras")
    proof.unlink(missing_ok=True)
    message = sentence_of(tmp_path / "model.keras")
    assert "cannot be loaded" in message and "Lambda" in message
    assert not proof.exists()


# === Whole or not at all ===


class BreakSaving(Exception):
    """Stands for a full disk."""


@pytest.mark.parametrize("error", [OSError(28, "No space left"), KeyboardInterrupt()])
def test_a_save_that_fails_leaves_the_old_file(trained, saved, error, monkeypatch):
    before = saved.read_bytes()

    def fail(folder):
        raise error

    monkeypatch.setattr(trained, "save_assets", fail)
    with pytest.raises(type(error)):
        trained.save(saved)
    assert saved.read_bytes() == before
    assert os.listdir(saved.parent) == ["model.keras"]


def test_a_file_that_exists_may_be_protected(trained, saved):
    before = saved.read_bytes()
    with pytest.raises(FileExistsError, match="overwrite=True"):
        trained.save(saved, overwrite=False)
    assert saved.read_bytes() == before


def test_saving_into_a_folder_that_is_not_there_is_one_sentence(trained, tmp_path):
    with pytest.raises(OSError, match="there is no folder .*gone"):
        trained.save(tmp_path / "gone" / "model.keras")
    assert os.listdir(tmp_path) == []


def test_a_saved_file_is_as_readable_as_any_other(saved, tmp_path):
    other = tmp_path / "other"
    other.touch()
    assert stat.S_IMODE(saved.stat().st_mode) == stat.S_IMODE(other.stat().st_mode)


def test_a_string_is_a_path_too(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trained.save("model.keras")
    assert kbert.load_model("model.keras").label_names == ("negative", "positive")
    assert os.listdir(tmp_path) == ["model.keras"]
