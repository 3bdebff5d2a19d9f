"""Tell the parts that are a share of the rows from those with a source of their own."""

import numbers
from collections.abc import Collection
from fractions import Fraction
from typing import Any


def read_requests(
    validation: Any, test: Any, own: Collection[str] = ()
) -> tuple[dict[str, Fraction], dict[str, Any]]:
    """Tell shares from sources.

    Args:
        validation: a share, a source or `None`.
        test: the same.
        own: parts that a folder has already; no share is cut for them.

    Returns:
        Part name to share, and part name to source.

    Raises:
        ValueError: a share is out of range, or the shares leave nothing for train.
    """
    shares, others = {}, {}
    for part, request in (("validation", validation), ("test", test)):
        if isinstance(request, numbers.Real):
            if part not in own:
                shares[part] = _read_share(part, request)
        elif request is not None:
            others[part] = request
    if sum(shares.values()) >= 1:
        raise ValueError(
            f"validation={validation} and test={test} leave no row for train; "
            "choose shares whose sum is below 1."
        )
    return shares, others


def _read_share(part: str, share: Any) -> Fraction:
    """Return the decimal as written: 1 - .15 - .15 is .7 exactly, so counts are."""
    if isinstance(share, bool) or not 0 < share < 1:
        raise ValueError(
            f"{part} must be a share in (0, 1), a source of its own, or None; "
            f"received {share}."
        )
    return Fraction(str(share))
