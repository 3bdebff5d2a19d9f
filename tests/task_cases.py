"""Tiny encoders of both tokenizer families, and transformers' models beside them."""

import json
from pathlib import Path

import numpy as np
from tokenizers.pre_tokenizers import ByteLevel

import kbert
from kbert.text import Preprocessor, Tokenizer

BYTES = sorted(ByteLevel.alphabet())
PIECES = ["<s>", "<pad>", "</s>", "<unk>", *BYTES, "ab", "\u0120a"]
MERGES = ["a b", "\u0120 a"]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "cat", "sat", "##s", "on", "a"]
WORDS += ["mat", "##b", "b", "c", "##c", ".", ",", "?", "d"]


def build_tokenizer(kind: str, *, add_prefix_space: bool = False) -> Tokenizer:
    """Return a `wordpiece` or `bpe` tokenizer of a few letters."""
    if kind == "wordpiece":
        return Tokenizer.from_wordpiece_vocabulary(WORDS)
    ids = {piece: index for index, piece in enumerate(PIECES)}
    return Tokenizer.from_bpe(ids, MERGES, add_prefix_space=add_prefix_space)


def build_preprocessor(kind: str, max_length: int) -> Preprocessor:
    """Return what makes rows of up to `max_length` tokens."""
    return Preprocessor(build_tokenizer(kind), max_length=max_length)


def write_transformers(folder: Path, family: str, head: str):
    """Write a checkpoint of transformers' own, with a head that is no classifier's.

    Args:
        folder: to write to.
        family: `bert`, `distil_bert` or `roberta`.
        head: `TokenClassification` or `QuestionAnswering`.

    Returns:
        transformers' model and the preset that kbert reads from the folder.
    """
    import torch
    import transformers

    names = {"bert": "Bert", "distil_bert": "DistilBert", "roberta": "Roberta"}
    size = {"vocab_size": len(WORDS), "num_labels": 5 if head[0] == "T" else 2}
    if family == "distil_bert":
        size |= {"n_layers": 2, "n_heads": 2, "dim": 8, "hidden_dim": 16}
    else:
        size |= {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 8}
        size |= {"intermediate_size": 16}
    if family == "roberta":
        size |= {"type_vocab_size": 1, "pad_token_id": 1, "vocab_size": len(PIECES)}
    config = getattr(transformers, f"{names[family]}Config")(**size)
    model = getattr(transformers, f"{names[family]}For{head}")(config)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.4, generator=generator)
    model.eval().save_pretrained(folder)
    _write_vocabulary(folder, family)
    return model, kbert.load_preset(folder)


def _write_vocabulary(folder: Path, family: str) -> None:
    if family == "roberta":
        ids = {piece: index for index, piece in enumerate(PIECES)}
        (folder / "vocab.json").write_text(json.dumps(ids), encoding="utf-8")
        merges = "#version: 0.2\n" + "\n".join(MERGES) + "\n"
        (folder / "merges.txt").write_text(merges, encoding="utf-8")
    else:
        (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")


def rename(arrays: dict[str, np.ndarray]) -> dict:
    """Return the arrays of a batch under transformers' names, as tensors."""
    import torch

    names = {"token_ids": "input_ids", "padding_mask": "attention_mask"}
    names |= {"segment_ids": "token_type_ids"}
    return {names[k]: torch.tensor(v).long() for k, v in arrays.items()}


def copy_head(layer, head) -> None:
    """Give a Dense layer the weights of transformers' linear head."""
    layer.kernel.assign(head.weight.detach().numpy().T)
    layer.bias.assign(head.bias.detach().numpy())
