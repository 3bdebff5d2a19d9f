"""What commands print: lines for people, or one JSON object for programs."""

import contextlib
import json
import sys
from collections.abc import Iterator
from typing import Any

from kbert.report.plain import to_plain


@contextlib.contextmanager
def reserving(is_json: bool) -> Iterator[None]:
    """Keep standard output for one JSON object: everything else goes to standard error.

    Args:
        is_json: whether `--json` was given; else nothing changes.
    """
    if not is_json:
        yield
        return
    with contextlib.redirect_stdout(sys.stderr):
        yield


def print_json(value: Any) -> None:
    """Print one JSON object on one line.

    Args:
        value: as `kbert.report.plain.to_plain` takes it.
    """
    print(json.dumps(to_plain(value), ensure_ascii=False, allow_nan=False))
