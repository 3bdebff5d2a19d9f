"""The names of KerasHub's BERT, DistilBERT and RoBERTa presets, and their aliases.

KerasHub's own BERT presets come from Google's checkpoints, trained with the tanh form
of GELU; the sentence encoders were converted from Hugging Face checkpoints, trained
with the erf form. KerasHub runs both with the tanh form; the table says what each was
trained with, and that is what kbert uses.
"""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from kbert.engine.config import Activation, Family
from kbert.presets.errors import PresetError
from kbert.presets.preset import Pooling


@dataclass(frozen=True, kw_only=True)
class PresetInfo:
    """What is known of a preset without fetching it.

    Args:
        name: KerasHub's name.
        family: `bert`, `distil_bert` or `roberta`.
        parameters: number of weights, pooler included, heads not.
        aliases: Hugging Face names of the same model; all mean the first one's
            repository, which is its full name.
        description: one sentence.
        kaggle_handle: `owner/model/keras/variation/version` of KerasHub's folder.
        activation: GELU that the checkpoint was trained with.
        pooling: what it was trained to be read with, where its folder does not say.
    """

    name: str
    family: Family
    parameters: int
    aliases: tuple[str, ...]
    description: str
    kaggle_handle: str
    activation: Activation
    pooling: Pooling

    @property
    def language(self) -> str:
        """`en`, `zh` or `multilingual`: the texts it was trained on."""
        endings = {"multi": "multilingual", "zh": "zh"}
        return endings.get(self.name.rpartition("_")[2], "en")


def _bert(
    name: str, parameters: int, version: int, description: str, *aliases: str
) -> PresetInfo:
    return PresetInfo(
        name=name,
        family="bert",
        parameters=parameters,
        aliases=aliases,
        description=description,
        kaggle_handle=f"keras/bert/keras/{name}/{version}",
        activation="gelu_approximate",
        pooling="pooler",
    )


def _other(
    family: Family, name: str, parameters: int, description: str, *aliases: str
) -> PresetInfo:
    return PresetInfo(
        name=name,
        family=family,
        parameters=parameters,
        aliases=aliases,
        description=description,
        kaggle_handle=f"keras/{family}/keras/{name}/3",
        activation="gelu",
        pooling="cls",
    )


def _sentence(
    group: str,
    name: str,
    parameters: int,
    pooling: Pooling,
    description: str,
    *aliases: str,
) -> PresetInfo:
    return PresetInfo(
        name=name,
        family="bert",
        parameters=parameters,
        aliases=aliases,
        description=description,
        kaggle_handle=f"keras/{group}/keras/{name}/1",
        activation="gelu",
        pooling=pooling,
    )


def _minilm(
    name: str, parameters: int, description: str, repository: str
) -> PresetInfo:
    return _sentence(
        "sentence-transformers",
        name,
        parameters,
        "mean",
        description,
        f"sentence-transformers/{repository}",
    )


def _bge(name: str, parameters: int, description: str, repository: str) -> PresetInfo:
    return _sentence("bge", name, parameters, "cls", description, f"BAAI/{repository}")


_L3, _L6, _L12 = 17_066_496, 22_713_216, 33_360_000  # MiniLM, 384 wide
_BASE, _LARGE = 109_482_240, 335_141_888

_PRESETS = (
    _bert("bert_tiny_en_uncased", 4_385_920, 3, "BERT, 2 layers, lower-cased English."),
    _bert(
        "bert_small_en_uncased", 28_763_648, 3, "BERT, 4 layers, lower-cased English."
    ),
    _bert(
        "bert_medium_en_uncased", 41_373_184, 3, "BERT, 8 layers, lower-cased English."
    ),
    _bert(
        "bert_base_en_uncased",
        _BASE,
        3,
        "BERT, 12 layers, lower-cased English.",
        "google-bert/bert-base-uncased",
        "bert-base-uncased",
    ),
    _bert(
        "bert_base_en",
        108_310_272,
        3,
        "BERT, 12 layers, English with its case.",
        "google-bert/bert-base-cased",
        "bert-base-cased",
    ),
    _bert(
        "bert_base_zh",
        102_267_648,
        3,
        "BERT, 12 layers, Chinese.",
        "google-bert/bert-base-chinese",
        "bert-base-chinese",
    ),
    _bert(
        "bert_base_multi",
        177_853_440,
        3,
        "BERT, 12 layers, 104 languages with their case.",
        "google-bert/bert-base-multilingual-cased",
        "bert-base-multilingual-cased",
    ),
    _bert(
        "bert_large_en_uncased",
        _LARGE,
        3,
        "BERT, 24 layers, lower-cased English.",
        "google-bert/bert-large-uncased",
        "bert-large-uncased",
    ),
    _bert(
        "bert_large_en",
        333_579_264,
        3,
        "BERT, 24 layers, English with its case.",
        "google-bert/bert-large-cased",
        "bert-large-cased",
    ),
    _bert(
        "bert_tiny_en_uncased_sst2",
        4_385_920,
        5,
        "BERT, 2 layers, already tuned to the sentiment of film reviews (SST-2).",
    ),
    _other(
        "distil_bert",
        "distil_bert_base_en_uncased",
        66_362_880,
        "DistilBERT, 6 layers, lower-cased English.",
        "distilbert/distilbert-base-uncased",
        "distilbert-base-uncased",
    ),
    _other(
        "distil_bert",
        "distil_bert_base_en",
        65_190_912,
        "DistilBERT, 6 layers, English with its case.",
        "distilbert/distilbert-base-cased",
        "distilbert-base-cased",
    ),
    _other(
        "distil_bert",
        "distil_bert_base_multi",
        134_734_080,
        "DistilBERT, 6 layers, 104 languages with their case.",
        "distilbert/distilbert-base-multilingual-cased",
        "distilbert-base-multilingual-cased",
    ),
    _other(
        "roberta",
        "roberta_base_en",
        124_052_736,
        "RoBERTa, 12 layers, English with its case.",
        "FacebookAI/roberta-base",
        "roberta-base",
    ),
    _other(
        "roberta",
        "roberta_large_en",
        354_307_072,
        "RoBERTa, 24 layers, English with its case.",
        "FacebookAI/roberta-large",
        "roberta-large",
    ),
    _minilm(
        "all_minilm_l6_v2_en",
        _L6,
        "MiniLM, 6 layers, English sentences; installed with kbert[embedded].",
        "all-MiniLM-L6-v2",
    ),
    _minilm(
        "all_minilm_l6_v1_en",
        _L6,
        "MiniLM, 6 layers, English sentences, first version.",
        "all-MiniLM-L6-v1",
    ),
    _minilm(
        "all_minilm_l12_v2_en",
        _L12,
        "MiniLM, 12 layers, English sentences.",
        "all-MiniLM-L12-v2",
    ),
    _minilm(
        "paraphrase_minilm_l3_v2_en",
        _L3,
        "MiniLM, 3 layers, English paraphrases.",
        "paraphrase-MiniLM-L3-v2",
    ),
    _minilm(
        "paraphrase_minilm_l6_v2_en",
        _L6,
        "MiniLM, 6 layers, English paraphrases.",
        "paraphrase-MiniLM-L6-v2",
    ),
    _minilm(
        "paraphrase_minilm_l12_v2_en",
        _L12,
        "MiniLM, 12 layers, English paraphrases.",
        "paraphrase-MiniLM-L12-v2",
    ),
    _minilm(
        "multi_qa_minilm_l6_cos_v1_en",
        _L6,
        "MiniLM, 6 layers, questions and their answers, cosine.",
        "multi-qa-MiniLM-L6-cos-v1",
    ),
    _minilm(
        "multi_qa_minilm_l6_dot_v1_en",
        _L6,
        "MiniLM, 6 layers, questions and their answers, dot product.",
        "multi-qa-MiniLM-L6-dot-v1",
    ),
    _minilm(
        "msmarco_minilm_l6_cos_v5_en",
        _L6,
        "MiniLM, 6 layers, passages found by a query (MS MARCO).",
        "msmarco-MiniLM-L6-cos-v5",
    ),
    _minilm(
        "msmarco_minilm_l12_cos_v5_en",
        _L12,
        "MiniLM, 12 layers, passages found by a query (MS MARCO).",
        "msmarco-MiniLM-L12-cos-v5",
    ),
    _bge("bge_small_en", _L12, "BGE, 12 layers, English sentences.", "bge-small-en"),
    _bge("bge_base_en", _BASE, "BGE, 12 layers, English sentences.", "bge-base-en"),
    _bge("bge_large_en", _LARGE, "BGE, 24 layers, English sentences.", "bge-large-en"),
    _bge(
        "bge_small_v1.5_en",
        _L12,
        "BGE 1.5, 12 layers, English sentences.",
        "bge-small-en-v1.5",
    ),
    _bge(
        "bge_base_v1.5_en",
        _BASE,
        "BGE 1.5, 12 layers, English sentences.",
        "bge-base-en-v1.5",
    ),
    _bge(
        "bge_large_v1.5_en",
        _LARGE,
        "BGE 1.5, 24 layers, English sentences.",
        "bge-large-en-v1.5",
    ),
    _bge(
        "bge_base_zh", 102_267_648, "BGE, 12 layers, Chinese sentences.", "bge-base-zh"
    ),
    _bge(
        "bge_large_zh",
        325_522_432,
        "BGE, 24 layers, Chinese sentences.",
        "bge-large-zh",
    ),
    _bge(
        "bge_small_v1.5_zh",
        23_953_920,
        "BGE 1.5, 4 layers, Chinese sentences.",
        "bge-small-zh-v1.5",
    ),
    _bge(
        "bge_base_v1.5_zh",
        102_267_648,
        "BGE 1.5, 12 layers, Chinese sentences.",
        "bge-base-zh-v1.5",
    ),
    _bge(
        "bge_large_v1.5_zh",
        325_522_432,
        "BGE 1.5, 24 layers, Chinese sentences.",
        "bge-large-zh-v1.5",
    ),
    _bge(
        "bge_llm_embedder",
        _BASE,
        "BGE, 12 layers, what a language model should look up.",
        "llm-embedder",
    ),
    _sentence(
        "mxbai-embed",
        "mxbai_embed_large_v1_en",
        _LARGE,
        "cls",
        "Mixedbread, 24 layers, English sentences.",
        "mixedbread-ai/mxbai-embed-large-v1",
    ),
    _sentence(
        "mxbai-embed",
        "mxbai_embed_2d_large_v1_en",
        _LARGE,
        "cls",
        "Mixedbread, 24 layers, English sentences, made to be cut in depth and width.",
        "mixedbread-ai/mxbai-embed-2d-large-v1",
    ),
    _sentence(
        "mxbai-embed",
        "mxbai_embed_xsmall_v1_en",
        24_089_472,
        "mean",
        "Mixedbread, 6 layers, English sentences.",
        "mixedbread-ai/mxbai-embed-xsmall-v1",
    ),
)

# BERT encoders in KerasHub whose vocabulary is SentencePiece's, which kbert lacks.
WITHOUT_TOKENIZER = ("multilingual_e5_small", "intfloat/multilingual-e5-small")


def list_presets() -> list[PresetInfo]:
    """List the presets that have a name.

    Returns:
        One entry a preset, in no order of merit.
    """
    return list(_PRESETS)


def find_preset(name: str) -> PresetInfo | None:
    """Return the preset of that KerasHub name or alias, `None` if there is none."""
    return next((i for i in _PRESETS if name in (i.name, *i.aliases)), None)


def build_unknown_name_error(name: str) -> PresetError:
    """Return the error for a name that means nothing, with the nearest that does."""
    if name in WITHOUT_TOKENIZER:
        return PresetError(
            f"preset {name!r} has a SentencePiece vocabulary, which kbert does not "
            "read; choose another preset, see kbert.list_presets()."
        )
    nearest = _find_nearest(name, (n for p in _PRESETS for n in (p.name, *p.aliases)))
    hint = f" Did you mean {nearest!r}?" if nearest else ""
    if name.count("/") == 1 and not name.startswith(("/", ".", "~")):
        hint += f" A Hugging Face repository is written 'hf://{name}'."
    return PresetError(
        f"unknown preset {name!r}, and there is no such folder.{hint} "
        "See kbert.list_presets()."
    )


def _find_nearest(name: str, names: Iterable[str]) -> str | None:
    folded = {known.lower(): known for known in names}
    found = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.6)
    return folded[found[0]] if found else None
