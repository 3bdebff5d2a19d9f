"""Write tiny presets with KerasHub and transformers themselves, and what they compute.

Run by tests/test_presets.py in a process of its own: KerasHub takes seconds to import
and the library under test must work without it.
"""

import json
import os
import sys
from pathlib import Path

os.environ["KERAS_BACKEND"] = "torch"
sys.modules["tensorflow"] = None  # type: ignore[assignment]  # half of KerasHub's time
sys.modules["tensorflow_text"] = None  # type: ignore[assignment]

import keras_hub  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402

from kbert import presets  # noqa: E402

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS += ["the", "cat", "sat", "##s", "on", "mat", "dog", "cafe"]
PIECES = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
PIECES += [*"abcdefg", "\u0120", "ab", "\u0120a"]
MERGES = ["a b", "\u0120 a"]
SIZES = {"num_layers": 3, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 24}
SIZES["max_sequence_length"] = 10
POSITIONS = {"bert": 10, "distil_bert": 10, "roberta": 12}

BACKBONES = {
    "bert": keras_hub.models.BertBackbone,
    "distil_bert": keras_hub.models.DistilBertBackbone,
    "roberta": keras_hub.models.RobertaBackbone,
}


def build_backbone(family: str, seed: int):
    size = len(PIECES) if family == "roberta" else len(WORDS)
    backbone = BACKBONES[family](vocabulary_size=size, **SIZES)
    generator = np.random.default_rng(seed)
    for weight in backbone.weights:
        weight.assign(generator.normal(0, 0.5, weight.shape))
    return backbone


def build_task(family: str, backbone):
    models = keras_hub.models
    if family == "roberta":
        ids = {piece: index for index, piece in enumerate(PIECES)}
        tokenizer = models.RobertaTokenizer(ids, MERGES)
    elif family == "bert":
        tokenizer = models.BertTokenizer(WORDS, lowercase=True)
    else:
        tokenizer = models.DistilBertTokenizer(WORDS)
    prefix = {"bert": "Bert", "distil_bert": "DistilBert", "roberta": "Roberta"}[family]
    preprocessor = getattr(models, f"{prefix}TextClassifierPreprocessor")
    task = getattr(models, f"{prefix}TextClassifier")
    return task(
        backbone, num_classes=3, preprocessor=preprocessor(tokenizer, sequence_length=8)
    )


def write_keras_hub(root: Path) -> dict:
    paths = {}
    for seed, family in enumerate(BACKBONES):
        backbone = build_backbone(family, seed)
        weights = {weight.path: np.array(weight) for weight in backbone.weights}
        paths[family] = {path: list(value.shape) for path, value in weights.items()}
        np.savez(root / f"{family}.npz", **weights)
        task = build_task(family, backbone)
        task.save_to_preset(root / f"{family}_task")
        backbone.save_to_preset(root / f"{family}_backbone")
        task.preprocessor.tokenizer.save_to_preset(root / f"{family}_backbone")
    models = keras_hub.models
    tokenizer = models.BertTokenizer(WORDS, lowercase=True)
    preprocessor = models.BertTextEmbedderPreprocessor(tokenizer, sequence_length=8)
    backbone = build_backbone("bert", 0)
    embedder = models.BertTextEmbedder(backbone, preprocessor, pooling_mode="cls")
    embedder.save_to_preset(root / "embedder")
    backbone.save_to_preset(root / "shards", max_shard_size=2e-6)
    tokenizer.save_to_preset(root / "shards")
    return paths


def build_config(family: str, **changes):
    if family == "distil_bert":
        return transformers.DistilBertConfig(
            vocab_size=len(WORDS), n_layers=3, n_heads=2, dim=8, hidden_dim=24,
            max_position_embeddings=10, **changes,
        )  # fmt: skip
    kind = {"bert": transformers.BertConfig, "roberta": transformers.RobertaConfig}
    if family == "roberta":
        changes |= {"type_vocab_size": 1, "layer_norm_eps": 1e-5}
    return kind[family](
        vocab_size=len(PIECES if family == "roberta" else WORDS), num_hidden_layers=3,
        num_attention_heads=2, hidden_size=8, intermediate_size=24,
        max_position_embeddings=POSITIONS[family], **changes,
    )  # fmt: skip


def randomise(model):
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.5, generator=generator)
    return model.eval()


def build_tokenizer(family: str, root: Path):
    if family == "roberta":
        ids = {piece: index for index, piece in enumerate(PIECES)}
        (root / "vocab.json").write_text(json.dumps(ids), encoding="utf-8")
        merges = "#version: 0.2\n" + "\n".join(MERGES) + "\n"
        (root / "merges.txt").write_text(merges, encoding="utf-8")
        return transformers.RobertaTokenizer.from_pretrained(root)
    (root / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    return transformers.BertTokenizerFast.from_pretrained(root)


def write_transformers(root: Path) -> None:
    gelu = {"bert": {"hidden_act": "gelu_new"}, "distil_bert": {}, "roberta": {}}
    build = {
        "bert": transformers.BertModel,
        "distil_bert": transformers.DistilBertForSequenceClassification,
        "roberta": transformers.RobertaForMaskedLM,
    }
    for family, cls in build.items():
        places = root / f"hf_{family}", root / f"vocabulary_{family}"
        for place in places:
            place.mkdir()
        tokenizer = build_tokenizer(family, places[1])
        model = randomise(cls(build_config(family, **gelu[family])))
        model.save_pretrained(places[0])
        tokenizer.save_pretrained(places[0])
    bert = randomise(transformers.BertForMaskedLM(build_config("bert")))
    bert.save_pretrained(root / "hf_masked_lm")
    bert.save_pretrained(root / "hf_shards", max_shard_size="3KB")
    bert.to(torch.float16).save_pretrained(root / "hf_float16")
    bert.to(torch.bfloat16).save_pretrained(root / "hf_bfloat16")
    for name in ("hf_masked_lm", "hf_shards", "hf_bfloat16", "hf_float16"):
        build_tokenizer("bert", root / "vocabulary_bert").save_pretrained(root / name)


def compare(root: Path, family: str) -> float:
    """Return the largest difference of transformers' and KerasHub's outputs."""
    folder = root / f"hf_{family}"
    model = transformers.AutoModel.from_pretrained(folder).eval()
    preset = presets.load_preset(folder)
    backbone = build_backbone(family, 9)
    weights = preset.load_weights()
    for variable in backbone.weights:
        variable.assign(weights.pop(variable.path))
    assert not weights, sorted(weights)
    ids = np.array([[2, 6, 7, 5, 3, 3], [2, 9, 3, 0, 0, 0]])
    mask = np.array([[1] * 6, [1, 1, 1, 0, 0, 0]])
    segments = np.array([[0, 0, 0, 1, 1, 1], [0, 1, 1, 0, 0, 0]])
    if family == "roberta":
        ids = np.where(mask == 1, np.where(ids == 1, 5, ids), 1)
    inputs = {"token_ids": ids, "padding_mask": mask}
    theirs = {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}
    if family == "bert":
        inputs["segment_ids"] = segments
        theirs["token_type_ids"] = torch.tensor(segments)
    with torch.no_grad():
        expected = model(**theirs)
        ours = backbone(inputs)
    if family != "bert":
        ours = {"sequence_output": ours}
    differences = [ours["sequence_output"] - expected.last_hidden_state]
    differences[0] = differences[0][torch.tensor(mask) == 1]
    if family == "bert":
        differences.append(ours["pooled_output"] - expected.pooler_output)
    return max(float(difference.abs().max()) for difference in differences)


def main(root: Path) -> None:
    paths = write_keras_hub(root)
    write_transformers(root)
    differences = {family: compare(root, family) for family in BACKBONES}
    results = {"paths": paths, "differences": differences}
    (root / "results.json").write_text(json.dumps(results), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
