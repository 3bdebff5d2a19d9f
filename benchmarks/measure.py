"""Repeats in turn, medians and ratios with what they are taken from."""

import statistics
from collections.abc import Callable, Sequence
from typing import TypeVar

Result = TypeVar("Result")


def interleave(
    ours: Callable[[], Result], theirs: Callable[[], Result], repeats: int
) -> tuple[list[Result], list[Result]]:
    """Run two sides in turn, the first to go changing every repeat.

    A machine that slows down or speeds up during a run then does so for both.
    """
    results: tuple[list[Result], list[Result]] = ([], [])
    for repeat in range(repeats):
        order = (0, 1) if repeat % 2 == 0 else (1, 0)
        for side in order:
            results[side].append((ours, theirs)[side]())
    return results


def compare(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    """Compare seconds of both sides, pair by pair.

    Returns:
        `ratio`, median speed of ours over median speed of theirs, and `ratio_low` and
        `ratio_high`, the extremes of the repeats' pairs.
    """
    pairs = [other / own for own, other in zip(ours, theirs, strict=True)]
    return {
        "ratio": statistics.median(theirs) / statistics.median(ours),
        "ratio_low": min(pairs),
        "ratio_high": max(pairs),
    }


def summarize_rate(amount: float, seconds: Sequence[float]) -> dict[str, float]:
    """Return median and quartiles of amount per second."""
    rates = sorted(amount / one for one in seconds)
    low, high = rates[0], rates[-1]
    if len(rates) > 1:
        low, _, high = statistics.quantiles(rates, n=4, method="inclusive")
    return {"median": statistics.median(rates), "q25": low, "q75": high}
