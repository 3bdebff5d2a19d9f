"""What to train with where the user says nothing: rules on the data and the encoder.

`benchmarks/defaults.py` measures them against the documented settings.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from kbert.engine.config import EncoderConfig

# The share of texts that the maximum length covers: the longest hundredth would cost
# most of the time and tell little.
COVERED = 0.99
# Rows whose lengths are counted; a quantile of so many is sure enough.
_COUNTED_ROWS = 5000
# Parts that are held out need not grow with the data: 3,000 rows tell accuracies
# apart that differ by a point or two.
HELD_OUT, MOST_HELD_OUT = 0.15, 3000
# Small data sets need many updates more than they need few passes (Mosbach et al.,
# 2021; Zhang et al., 2021). Too many are no gift either: the rate falls over all of
# them, and the kept epoch then comes, or training stops, while it is still high.
_UPDATES, _LEAST_EPOCHS, _MOST_EPOCHS = 150, 3, 20
_HEAD_UPDATES = 500  # a head alone starts from nothing, and its updates are cheap
_LEAST_PATIENCE = 3  # few validation rows make one bad epoch likely
_LARGE_ROWS = 100_000  # so many rows say all they have to say in two passes
_SMALL_ROWS = 2000  # below, smaller batches give more updates


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a model is trained with.

    Args:
        learning_rate: highest, after the warm-up.
        batch_size: rows a step.
        epochs: most passes over the training rows.
        patience: epochs without a better one, after which training stops.
        max_length: longest text, in tokens.
        warmup: share of the updates in which the rate rises.
        weight_decay: decoupled, per update.
        dropout: share of values dropped before the head.
    """

    learning_rate: float
    batch_size: int
    epochs: int
    patience: int
    max_length: int
    # A tenth: Devlin et al. (2019). It costs little and keeps small runs from
    # collapsing (Mosbach et al., 2021).
    warmup: float = 0.1
    weight_decay: float = 0.01
    dropout: float = 0.1


def choose_settings(
    num_rows: int,
    config: "EncoderConfig",
    lengths: np.ndarray,
    *,
    is_frozen: bool = False,
    batch_size: int | None = None,
    epochs: int | None = None,
) -> Settings:
    """Choose settings by the data and the encoder.

    Args:
        num_rows: rows to train on.
        config: shape of the encoder.
        lengths: int (n,), tokens of texts, before anything is cut.
        is_frozen: whether the encoder does not train.
        batch_size: rows a step, if the user has said so.
        epochs: most passes over the rows, likewise.

    Returns:
        The settings.
    """
    batch_size = batch_size or (16 if num_rows < _SMALL_ROWS else 32)
    epochs = epochs or choose_epochs(num_rows, batch_size, is_frozen)
    return Settings(
        learning_rate=choose_learning_rate(config.hidden_dim, is_frozen),
        batch_size=batch_size,
        epochs=epochs,
        patience=max(_LEAST_PATIENCE, epochs // 2),
        max_length=choose_max_length(lengths, config.max_sequence_length),
    )


def choose_learning_rate(hidden_dim: int, is_frozen: bool = False) -> float:
    """Choose the highest rate: the wider an encoder, the smaller.

    Args:
        hidden_dim: width of the encoder.
        is_frozen: whether a head trains alone, which bears a much higher rate.

    Returns:
        The rate.
    """
    if is_frozen:
        return 1e-3
    if hidden_dim >= 1024:
        return 2e-5
    # Of 2e-5 to 5e-5, which Devlin et al. (2019) advise. Turc et al. (2019) tried up to
    # 3e-4 on narrower encoders; for one 384 wide, 1e-4 and 2e-4 were equally good on
    # the sets of `benchmarks/defaults.py`.
    return 5e-5 if hidden_dim >= 768 else 1e-4


def choose_epochs(num_rows: int, batch_size: int, is_frozen: bool = False) -> int:
    """Choose the most passes over the rows: enough updates, not too many passes.

    Args:
        num_rows: rows to train on.
        batch_size: rows a step.
        is_frozen: whether a head trains alone.

    Returns:
        Between 3 and 20; 2 for very many rows.
    """
    if num_rows >= _LARGE_ROWS:
        return 2
    updates = _HEAD_UPDATES if is_frozen else _UPDATES
    needed = math.ceil(updates * batch_size / max(1, num_rows))
    return min(_MOST_EPOCHS, max(_LEAST_EPOCHS, needed))


def choose_counted(num_rows: int) -> np.ndarray:
    """Choose the rows whose lengths are counted: evenly, as many files are sorted.

    Args:
        num_rows: rows to train on.

    Returns:
        Their positions, int (n,), rising.
    """
    count = min(num_rows, _COUNTED_ROWS)
    return np.arange(count) * num_rows // max(1, count)


def choose_max_length(lengths: np.ndarray, longest: int) -> int:
    """Choose the longest text: it covers 99 of 100.

    Args:
        lengths: int (n,), tokens of texts, before anything is cut.
        longest: that the encoder takes.

    Returns:
        Tokens, at most `longest`. Padding is free, so nothing is rounded up.
    """
    if not len(lengths):
        return longest
    covering = int(np.quantile(lengths, COVERED, method="inverted_cdf"))
    return min(longest, max(8, covering))


def choose_share(num_rows: int) -> float:
    """Choose the share of the rows that a held-out part gets.

    Args:
        num_rows: rows there are.

    Returns:
        In (0, .15], with at most four decimals.
    """
    if num_rows * HELD_OUT <= MOST_HELD_OUT:
        return HELD_OUT
    return max(0.0001, round(MOST_HELD_OUT / num_rows, 4))
