"""Measured figures over the seeds, judged by the documented ones."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from kbert.recipes.experiment import Claim
from kbert.report.wording import spread

# What `sum_up` makes of no values.
NOTHING: dict[str, Any] = {"mean": None, "sd": None, "n": 0}


def sum_up(values: Sequence[float]) -> dict[str, Any]:
    """Sum values up.

    Args:
        values: any number of them.

    Returns:
        `mean` (`None` of none), `sd` (of the sample; `None` of fewer than two), `n`.
    """
    if not values:
        return NOTHING
    sd = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "sd": sd, "n": len(values)}


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
        those of `found`, and `verdict`: `within 1 sd`, `equal`, `inside`, `above by
        …`, `below by …` or, where nothing was measured, empty.
    """
    return {
        "name": claim.name,
        "key": claim.key,
        "documented": claim.value,
        "documented_to": claim.to,
        "note": claim.note,
        **found,
        "verdict": _judge(claim, found),
    }


def _judge(claim: Claim, found: Mapping[str, Any]) -> str:
    if found["mean"] is None:
        return ""
    highest = claim.value if claim.to is None else claim.to
    if claim.to is not None and claim.value <= found["mean"] <= highest:
        return "inside"
    gap = found["mean"] - (highest if found["mean"] > highest else claim.value)
    if found["sd"] is not None and abs(gap) <= found["sd"]:
        return "within 1 sd"
    size = f"{abs(gap):,.3f}"
    if not float(size.replace(",", "")):
        return "equal"
    return f"{'above' if gap > 0 else 'below'} by {size}"
