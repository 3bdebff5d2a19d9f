"""A tokenizer and the format of its sequences, as plain values that can be saved."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import tokenizers

_PAD_TOKENS = ("[PAD]", "<pad>")
_UNKNOWN_TOKENS = ("[UNK]", "<unk>")
_PARALLELISM = "TOKENIZERS_PARALLELISM"


@dataclass(frozen=True)
class Tokenizer:
    """Turns texts into token ids, and knows what goes around and between them.

    Tokens of the format that stand in a text, such as `[MASK]` or `</s>`, become their
    ids, as in transformers' fast tokenizers.

    Args:
        json: `tokenizers` JSON: model, normalizer, pre-tokenizer and added tokens,
            without a post-processor, padding or truncation.
        start_id: id put before the first text (`[CLS]`, `<s>`).
        end_id: id put after every text (`[SEP]`, `</s>`).
        pad_id: id that fills rows up to their length.
        unknown_id: id of what the vocabulary cannot spell.
        pair_separators: times `end_id` stands between the texts of a pair: 1 is BERT's
            `[CLS] A [SEP] B [SEP]`, 2 is RoBERTa's `<s> A </s></s> B </s>`, which has
            no segments.

    Raises:
        ValueError: an id is negative or `pair_separators` is neither 1 nor 2.
    """

    json: str
    start_id: int
    end_id: int
    pad_id: int
    unknown_id: int
    pair_separators: int = 1

    def __post_init__(self) -> None:
        """Reject ids and formats that no encoder has."""
        for name in ("start_id", "end_id", "pad_id", "unknown_id"):
            if getattr(self, name) < 0:
                raise ValueError(
                    f"{name} must be a token id, 0 or more; "
                    f"received {getattr(self, name)}."
                )
        if self.pair_separators not in (1, 2):
            raise ValueError(
                "pair_separators must be 1 (BERT) or 2 (RoBERTa); "
                f"received {self.pair_separators}."
            )

    @classmethod
    def from_wordpiece_vocabulary(
        cls,
        vocabulary: Iterable[str],
        *,
        lowercase: bool = True,
        strip_accents: bool | None = None,
    ) -> "Tokenizer":
        """Build BERT's tokenizer from the lines of a `vocab.txt`.

        Args:
            vocabulary: tokens by id, line ends allowed; an open file will do.
            lowercase: lower-case the texts (an uncased checkpoint).
            strip_accents: remove accents; `None` does so where `lowercase` is set.

        Returns:
            The tokenizer.

        Raises:
            ValueError: `[PAD]`, `[UNK]`, `[CLS]` or `[SEP]` is missing.
        """
        from tokenizers import Tokenizer as Backend
        from tokenizers import models, normalizers, pre_tokenizers

        ids = {token.rstrip("\r\n"): index for index, token in enumerate(vocabulary)}
        required = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
        pad, unknown, start, end = _require_tokens(ids, required)
        backend = Backend(models.WordPiece(ids, unk_token="[UNK]"))
        backend.normalizer = normalizers.BertNormalizer(
            lowercase=lowercase, strip_accents=strip_accents
        )
        backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        backend.add_special_tokens([t for t in (*required, "[MASK]") if t in ids])
        return cls(backend.to_str(), start, end, pad, unknown, pair_separators=1)

    @classmethod
    def from_bpe(
        cls,
        vocabulary: Mapping[str, int],
        merges: Iterable[str | Sequence[str]],
        *,
        add_prefix_space: bool = False,
    ) -> "Tokenizer":
        """Build RoBERTa's byte-level BPE tokenizer from its two files.

        `<mask>` takes the space before it, as in the published RoBERTa checkpoints.

        Args:
            vocabulary: token to id, as in `vocab.json`.
            merges: pairs in order of priority, or lines `left right` as in
                `merges.txt`; its `#version` line and blank lines are skipped.
            add_prefix_space: treat the first word as if a space stood before it.

        Returns:
            The tokenizer.

        Raises:
            ValueError: `<s>`, `</s>`, `<pad>` or `<unk>` is missing, or a merge is not
                a pair of tokens of the vocabulary.
        """
        from tokenizers import AddedToken, models, pre_tokenizers
        from tokenizers import Tokenizer as Backend

        ids = dict(vocabulary)
        required = ("<s>", "</s>", "<pad>", "<unk>")
        start, end, pad, unknown = _require_tokens(ids, required)
        try:
            backend = Backend(models.BPE(ids, _parse_merges(merges)))
        except Exception as error:  # the library raises nothing narrower
            raise ValueError(
                f"merges do not fit the vocabulary of {len(ids)} tokens ({error}). "
                "Take both from the same checkpoint."
            ) from error
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(
            add_prefix_space=add_prefix_space
        )
        tokens: list[str | AddedToken] = list(required)
        if "<mask>" in ids:
            tokens.append(AddedToken("<mask>", lstrip=True, special=True))
        backend.add_special_tokens(tokens)
        return cls(backend.to_str(), start, end, pad, unknown, pair_separators=2)

    @classmethod
    def from_json(cls, text: str) -> "Tokenizer":
        """Read a Hugging Face `tokenizer.json`.

        The ids around the texts come from its post-processor, which is then removed
        together with padding and truncation: `kbert.text.Preprocessor` does their work.

        Args:
            text: content of the file.

        Returns:
            The tokenizer.

        Raises:
            ValueError: the text is damaged, the model is neither WordPiece nor BPE, or
                the post-processor has another format than BERT's and RoBERTa's.
        """
        data = _parse_tokenizer_json(text)
        start, end, separators = _read_format(data.get("post_processor"))
        padding = data.get("padding") or {}
        known = dict(data["model"].get("vocab") or {})
        known |= {token["content"]: token["id"] for token in data["added_tokens"]}
        pads = (padding.get("pad_token", _PAD_TOKENS[0]), *_PAD_TOKENS)
        unknowns = (data["model"].get("unk_token"), *_UNKNOWN_TOKENS)
        data |= {"post_processor": None, "padding": None, "truncation": None}
        tokenizer = cls(
            json.dumps(data, ensure_ascii=False, separators=(",", ":")),
            start,
            end,
            _find_token(known, pads, "padding"),
            _find_token(known, unknowns, "unknown"),
            separators,
        )
        _ = tokenizer._backend  # damaged parts show here, not at the first text
        return tokenizer

    @property
    def vocabulary_size(self) -> int:
        """Number of tokens, added ones included."""
        return self._backend.get_vocab_size(with_added_tokens=True)

    def id_to_token(self, token_id: int) -> str:
        """Return the token of an id, as the vocabulary spells it.

        Args:
            token_id: in [0, vocabulary_size).

        Returns:
            The token, such as `earth` or `##quake`.

        Raises:
            ValueError: no token has this id.
        """
        token = self._backend.id_to_token(int(token_id)) if token_id >= 0 else None
        if token is None:
            raise ValueError(
                f"token ids must lie in [0, {self.vocabulary_size}); "
                f"received {token_id}."
            )
        return token

    def tokenize(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Turn texts into token ids, without anything around them.

        The texts run in parallel on the cores of the machine, outside Python's lock;
        any number of threads may call this. A lone surrogate, which no UTF-8 text can
        hold, is read as U+FFFD, and two that form a pair as their character.

        Args:
            texts: strings; all their tokens are in memory at once.

        Returns:
            int32 ids, shape (num_tokens,), text after text, and their int64 offsets,
            shape (num_texts + 1,).
        """
        offsets = np.zeros(len(texts) + 1, np.int64)
        rows = [encoding.ids for encoding in self._encode_batch(texts)]
        np.cumsum(np.fromiter(map(len, rows), np.int64, len(rows)), out=offsets[1:])
        ids = np.fromiter(chain.from_iterable(rows), np.int32, int(offsets[-1]))
        return ids, offsets

    @property
    def takes_space(self) -> bool:
        """Whether a word's tokens hold the space before it, as in byte-level BPE."""
        return '"type":"ByteLevel"' in self.json

    def _encode_batch(self, texts: Sequence[str]) -> "list[tokenizers.Encoding]":
        backend = self._backend
        try:
            return backend.encode_batch_fast(texts, add_special_tokens=False)
        except TypeError:  # what the library raises for a lone surrogate
            repaired = [_replace_surrogates(text) for text in texts]
            return backend.encode_batch_fast(repaired, add_special_tokens=False)

    @cached_property
    def _backend(self) -> "tokenizers.Tokenizer":
        from tokenizers import Tokenizer as Backend

        _keep_forks_quiet()
        try:
            return Backend.from_str(self.json)
        except Exception as error:  # the library raises nothing narrower
            raise ValueError(
                f"the tokenizer's JSON cannot be read ({error}). "
                "Fetch or save the tokenizer again."
            ) from error


def _replace_surrogates(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _require_tokens(ids: Mapping[str, int], tokens: Sequence[str]) -> list[int]:
    missing = [token for token in tokens if token not in ids]
    if missing:
        raise ValueError(
            f"the vocabulary of {len(ids)} tokens lacks {', '.join(missing)}. "
            "Pass the checkpoint's own vocabulary."
        )
    return [ids[token] for token in tokens]


def _parse_merges(merges: Iterable[str | Sequence[str]]) -> list[tuple[str, str]]:
    pairs = []
    for number, merge in enumerate(merges):
        if isinstance(merge, str):
            if merge.startswith("#version") or not merge.strip():
                continue
            merge = merge.strip("\r\n").split(" ")
        if len(merge) != 2:
            raise ValueError(
                f"merges[{number}] must be a pair of tokens; received {merge!r}."
            )
        pairs.append((merge[0], merge[1]))
    return pairs


def _parse_tokenizer_json(text: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except ValueError as error:
        raise ValueError(
            f"tokenizer.json is not JSON ({error}). Fetch the file again."
        ) from error
    model = data.get("model") if isinstance(data, dict) else None
    kind = model.get("type") if isinstance(model, dict) else None
    if kind not in ("WordPiece", "BPE"):
        raise ValueError(
            f"tokenizer.json must hold a WordPiece or BPE model; received {kind!r}. "
            "Choose a checkpoint of the BERT, DistilBERT or RoBERTa family."
        )
    data["added_tokens"] = data.get("added_tokens") or []
    return data


def _find_token(
    ids: Mapping[str, int], candidates: Iterable[str | None], what: str
) -> int:
    for token in candidates:
        if token is not None and token in ids:
            return ids[token]
    names = ", ".join(dict.fromkeys(token for token in candidates if token))
    raise ValueError(
        f"tokenizer.json has no {what} token (looked for {names}). "
        "Add it to the file's added_tokens."
    )


def _read_format(post_processor: Any) -> tuple[int, int, int]:
    """Return start id, end id and the number of separators between two texts."""
    parts = post_processor if isinstance(post_processor, dict) else {}
    kind = parts.get("type")
    try:
        if kind == "Sequence":
            return _read_format(_last_format(parts["processors"]))
        if kind in ("BertProcessing", "RobertaProcessing"):
            separators = 1 if kind == "BertProcessing" else 2
            return parts["cls"][1], parts["sep"][1], separators
        if kind == "TemplateProcessing":
            return _read_template(parts)
    except (KeyError, IndexError, TypeError):
        pass  # said below, with the same way out
    raise ValueError(
        f"tokenizer.json has post-processor {kind!r} in a format that is neither "
        "[CLS] A [SEP] B [SEP] nor <s> A </s></s> B </s>. "
        "Choose a checkpoint of the BERT, DistilBERT or RoBERTa family."
    )


def _last_format(processors: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the processor that puts tokens around texts; others only move offsets."""
    return [part for part in processors if part["type"] != "ByteLevel"][-1]


def _read_template(template: dict[str, Any]) -> tuple[int, int, int]:
    single = [_piece(part) for part in template["single"]]
    pair = [_piece(part) for part in template["pair"]]
    start, end = single[0], single[-1]
    separators = len(pair) - 4
    between = [end] * separators
    if separators not in (1, 2) or start in ("$A", "$B") or end in ("$A", "$B"):
        raise KeyError
    if single != [start, "$A", end] or pair != [start, "$A", *between, "$B", end]:
        raise KeyError
    tokens = template["special_tokens"]
    ((start_id,), (end_id,)) = tokens[start]["ids"], tokens[end]["ids"]
    return start_id, end_id, separators


def _piece(part: dict[str, Any]) -> str:
    if "Sequence" in part:
        return "$" + part["Sequence"]["id"]
    return part["SpecialToken"]["id"]


@cache
def _keep_forks_quiet() -> None:
    """Let forked children tokenize on one core, without four lines of warning each.

    A child has no worker threads, so the library turns them off there and says so
    unless the environment did it first. The user's own setting is left alone.
    """
    if not hasattr(os, "register_at_fork"):
        return
    changed = []

    def before() -> None:
        if _PARALLELISM not in os.environ:
            os.environ[_PARALLELISM] = "false"
            changed.append(True)

    def after_in_parent() -> None:
        if changed:
            changed.clear()
            os.environ.pop(_PARALLELISM, None)

    os.register_at_fork(before=before, after_in_parent=after_in_parent)
