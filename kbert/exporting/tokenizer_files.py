"""A tokenizer as the files that the tokenizers library and transformers read."""

import json
from pathlib import Path
from typing import Any

from kbert.exporting.folder import write_json
from kbert.text import Preprocessor, Tokenizer

# What transformers calls an encoder's inputs.
INPUT_NAMES = {
    "token_ids": "input_ids",
    "segment_ids": "token_type_ids",
    "padding_mask": "attention_mask",
}


def write_tokenizer(folder: Path, preprocessor: Preprocessor) -> None:
    """Write `tokenizer.json`, its settings, and the vocabulary as plain files.

    Args:
        folder: exists.
        preprocessor: whose tokenizer and length to write.
    """
    tokenizer = preprocessor.tokenizer
    table = json.loads(tokenizer.json)
    table["post_processor"] = _build_post_processor(tokenizer)
    write_json(folder / "tokenizer.json", table)
    special = _name_special_tokens(tokenizer, table)
    write_json(folder / "special_tokens_map.json", special)
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": preprocessor.max_length,
            "model_input_names": [INPUT_NAMES[n] for n in preprocessor.input_names],
            "padding_side": "right",
            "truncation_side": "right",
            "clean_up_tokenization_spaces": False,
            **special,
        },
    )
    write_vocabulary(folder, table, ("vocab.txt", "vocab.json"))


def write_vocabulary(
    folder: Path, table: dict[str, Any], names: tuple[str, str]
) -> None:
    """Write the vocabulary, and for BPE its merges, as plain files.

    Args:
        folder: exists.
        table: content of a `tokenizer.json`.
        names: file name for WordPiece, and for BPE (beside `merges.txt`).
    """
    model = table["model"]
    if model["type"] == "WordPiece":
        lines = _list_by_id(model["vocab"])
        text = "".join(f"{token}\n" for token in lines)
        (folder / names[0]).write_text(text, encoding="utf-8")
        return
    write_json(folder / names[1], model["vocab"])
    pairs = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
    text = "\n".join(["#version: 0.2", *pairs]) + "\n"
    (folder / "merges.txt").write_text(text, encoding="utf-8")


def _list_by_id(vocabulary: dict[str, int]) -> list[str]:
    """Return the tokens in the order of their ids; a hole gets a name nobody writes."""
    by_id = {index: token for token, index in vocabulary.items()}
    last = max(by_id, default=-1)
    return [by_id.get(index, f"[hole{index}]") for index in range(last + 1)]


def _name_special_tokens(tokenizer: Tokenizer, table: dict[str, Any]) -> dict[str, str]:
    ids = {
        "cls_token": tokenizer.start_id,
        "sep_token": tokenizer.end_id,
        "pad_token": tokenizer.pad_id,
        "unk_token": tokenizer.unknown_id,
    }
    if tokenizer.pair_separators == 2:
        ids |= {"bos_token": tokenizer.start_id, "eos_token": tokenizer.end_id}
    names = {key: tokenizer.id_to_token(index) for key, index in ids.items()}
    known = set(table["model"]["vocab"])
    known |= {token["content"] for token in table["added_tokens"]}
    masks = [token for token in ("[MASK]", "<mask>") if token in known]
    return names | ({"mask_token": masks[0]} if masks else {})


def _build_post_processor(tokenizer: Tokenizer) -> dict[str, Any]:
    """Return what puts the format's tokens around and between texts."""
    ends = {
        key: [tokenizer.id_to_token(index), index]
        for key, index in (("sep", tokenizer.end_id), ("cls", tokenizer.start_id))
    }
    if tokenizer.pair_separators == 1:
        return {"type": "BertProcessing", **ends}
    table = json.loads(tokenizer.json).get("pre_tokenizer") or {}
    spaced = bool(table.get("add_prefix_space", False))
    return {
        "type": "RobertaProcessing",
        **ends,
        "trim_offsets": True,
        "add_prefix_space": spaced,
    }
