"""Change texts a little, to train on more of them or to predict each several times.

Every function takes a seed, and the same seed gives the same texts. Words are runs of
characters between white space, and need no dictionary of synonyms; in what comes back
a single space stands between them.

Source: Wei & Zou (2019), "EDA", whose random deletion and random swap these are, the
swap between neighbours only, so that a phrase stays where it was.
"""

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import numpy as np

__all__ = ["KINDS", "augment_texts", "drop_words", "make_views", "swap_words"]

Kind = Literal["drop", "swap", "both"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Seed = int | Sequence[int] | np.random.Generator  # all that `default_rng` takes


def drop_words(texts: Sequence[str], share: float = 0.1, seed: Seed = 0) -> list[str]:
    """Leave out words at random; one word of each text always stays.

    Args:
        texts: strings.
        share: probability with which each word is left out, in [0, 1).
        seed: of the choice: a whole number from 0, several, or a generator.

    Returns:
        The texts, in their order.

    Raises:
        ValueError: the share is out of range, or the texts are one string.
    """

    def drop(words: list[str], draws: np.ndarray) -> list[str]:
        kept = [w for w, draw in zip(words, draws, strict=True) if draw >= share]
        return kept or [words[draws.argmax()]]

    return _change_words(drop, texts, share, seed)


def swap_words(texts: Sequence[str], share: float = 0.1, seed: Seed = 0) -> list[str]:
    """Let words change places with the next one at random; no word moves twice.

    Args:
        texts: strings.
        share: probability with which each word that has not moved changes places with
            the one after it, in [0, 1).
        seed: of the choice: a whole number from 0, several, or a generator.

    Returns:
        The texts, in their order, with the same words.

    Raises:
        ValueError: the share is out of range, or the texts are one string.
    """

    def swap(words: list[str], draws: np.ndarray) -> list[str]:
        place = 0
        while place < len(words) - 1:
            if draws[place] < share:
                words[place : place + 2] = words[place + 1], words[place]
                place += 1
            place += 1
        return words

    return _change_words(swap, texts, share, seed)


def augment_texts(
    texts: Sequence[str],
    kind: Kind = "both",
    *,
    share: float = 0.1,
    seed: Seed = 0,
) -> list[str]:
    """Change texts in one of the ways that have a name.

    Args:
        texts: strings.
        kind: `drop` leaves words out, `swap` lets neighbours change places, `both`
            does one after the other.
        share: of the words, as for `drop_words` and `swap_words`.
        seed: of the choice: a whole number from 0, several, or a generator.

    Returns:
        The texts, in their order.

    Raises:
        ValueError: the kind is unknown or the share is out of range.

    Example:
        >>> augment_texts(["a quiet film that stays with you"], "swap", seed=4)
        ['a quiet film stays that with you']
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}; received {kind!r}.")
    generator = np.random.default_rng(seed)
    if kind in ("drop", "both"):
        texts = drop_words(texts, share, generator)
    if kind in ("swap", "both"):
        texts = swap_words(texts, share, generator)
    return list(texts)


def make_views(
    texts: Sequence[str],
    num_views: int,
    kind: Kind = "both",
    *,
    share: float = 0.1,
    seed: int = 0,
) -> list[list[str]]:
    """Make several views of texts, for a model to predict each of them.

    `kbert.evaluation.average_views` makes one prediction of those of all views.

    Args:
        texts: strings.
        num_views: views of each text, at least 1.
        kind: how the views differ, as for `augment_texts`.
        share: of the words, as for `drop_words` and `swap_words`.
        seed: of the choice.

    Returns:
        `num_views` lists as long as `texts`: first the texts as they are, then the
        changed ones, each list by its own draws.

    Raises:
        ValueError: there is to be no view, the kind is unknown or the share is out of
            range.
    """
    if num_views < 1:
        raise ValueError(f"num_views must be at least 1; received {num_views}.")
    changed = [
        augment_texts(texts, kind, share=share, seed=(seed, number))
        for number in range(1, num_views)
    ]
    return [list(texts), *changed]


def _change_words(
    change: Callable[[list[str], np.ndarray], list[str]],
    texts: Sequence[str],
    share: float,
    seed: Seed,
) -> list[str]:
    """Change each text's words, given a draw from [0, 1) for each of them."""
    if isinstance(texts, str):
        raise ValueError(
            f"texts must be a list of str; received one str, {texts[:40]!r}. "
            "Put it in a list."
        )
    if not 0 <= share < 1:
        raise ValueError(f"share must lie in [0, 1); received {share}.")
    generator = np.random.default_rng(seed)
    changed = []
    for text in texts:
        words = text.split()
        draws = generator.random(len(words))
        changed.append(" ".join(change(words, draws)) if words else text)
    return changed
