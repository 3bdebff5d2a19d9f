"""Measured figures over the seeds, judged by the documented ones."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from kbert.recipes.experiment import Claim
from kbert.report.wording import figure, spread

# What `sum_up` makes of no values.
NOTHING: dict[str, Any] = {"mean": None, "sd": None, "n": 0}


def sum_up(values: Sequence[float]) -> dict[str, Any]:
    """Sum values up.

    Args:
        values: any number of them.

    Returns:
        `mean` (`None` of none; whole where all are the same whole number, such as a
        count), `sd` (of the sample; `None` of fewer than two), `n`.
    """
    if not values:
        return NOTHING
    sd = statistics.stdev(values) if len(values) > 1 else None
    is_count = len(set(values)) == 1 and all(isinstance(one, int) for one in values)
    mean = values[0] if is_count else statistics.fmean(values)
    return {"mean": mean, "sd": sd, "n": len(values)}


def describe_values(values: Sequence[float]) -> str:
    """Write values as their mean and sample standard deviation.

    Args:
        values: at least one.

    Returns:
        Such as `0.812 ± 0.004`; one value stands alone.
    """
    return spread(sum_up(values))


def describe_claim(claim: Claim, found: Mapping[str, Any]) -> dict[str, Any]:
    """Judge a measured figure by the documented one.

    Args:
        claim: what the document states.
        found: of `sum_up`.

    Returns:
        `name`, `key`, `documented`, `documented_to` (the end of a range), `note`,
        those of `found`, `verdict` (`within 1 sd`, `equal`, `inside`, `above by …`,
        `below by …` or, where nothing was measured, empty) and `is_better`: whether
        what is above or below is so to the good; `None` where neither is, and for
        what has no better and worse.
    """
    verdict = _judge(claim, found)
    is_apart = verdict.startswith(("above", "below"))
    is_better = None
    if is_apart and claim.higher_is_better is not None:
        is_better = verdict.startswith("above") == claim.higher_is_better
    return {
        "name": claim.name,
        "key": claim.key,
        "documented": claim.value,
        "documented_to": claim.to,
        "note": claim.note,
        **found,
        "verdict": verdict,
        "is_quality": claim.higher_is_better is not None,
        "is_better": is_better,
    }


def _judge(claim: Claim, found: Mapping[str, Any]) -> str:
    if found["mean"] is None:
        return ""
    highest = claim.value if claim.to is None else claim.to
    if claim.to is not None and claim.value <= found["mean"] <= highest:
        return "inside"
    gap = found["mean"] - (highest if found["mean"] > highest else claim.value)
    if round(abs(gap), 3) == 0:
        return "equal"
    if found["sd"] is not None and abs(gap) <= found["sd"]:
        return "within 1 sd"
    is_whole = isinstance(found["mean"], int) and float(gap).is_integer()
    size = f"{abs(gap):,.0f}" if is_whole else figure(abs(gap), like=found["mean"])
    return f"{'above' if gap > 0 else 'below'} by {size}"
