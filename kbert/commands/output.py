"""What commands print: lines for people, or one JSON object for programs."""

import contextlib
import json
import sys
from collections.abc import Iterator
from typing import Any

from kbert.report.plain import dump_line, to_plain


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
    """Print one JSON object on one line, in ASCII where the output takes no more.

    Args:
        value: as `kbert.report.plain.to_plain` takes it; dates, bytes and the like of
            a user's own columns become text.
    """
    line = dump_line(to_plain(value, other=_write_text))
    try:
        line.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        line = json.dumps(json.loads(line))
    print(line)


def _write_text(value: Any) -> str:
    if callable(write := getattr(value, "isoformat", None)):
        return write()
    is_bytes = isinstance(value, bytes)
    return value.decode("utf-8", "backslashreplace") if is_bytes else str(value)
