"""Name the columns of a request, and look at what they hold."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pyarrow as pa

from kbert.data.columns import find_columns
from kbert.data.files import Reading
from kbert.data.folders import find_parts
from kbert.data.peek import peek
from kbert.data.sources import read_table
from kbert.tasks.task import Request


def complete(request: Request) -> tuple[Request, list[str]]:
    """Name the columns that the user has not named; see `kbert.data.find_columns`.

    Args:
        request: what to read; `text` or `label` may be missing, and `label` may name
            several columns with commas between them.

    Returns:
        The request with its columns, and a sentence for each that was found.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: there is no column, or more than one, that it could be.
    """
    if isinstance(request.label, str) and "," in request.label:
        request = replace(request, label=split_names(request.label, request))
    if request.text is not None and request.text == request.text_pair:
        raise ValueError(
            f"text and text_pair (--text, --text-pair) are both {request.text!r}; name "
            "two columns, or leave text_pair out."
        )
    if request.text and request.label:
        return request, []
    found = find_columns(
        request.source,
        request.text,
        request.label,
        request.text_pair,
        **request.layout,
    )
    request = replace(
        request, text=found.text, label=found.label, text_pair=found.text_pair
    )
    return request, list(found.sentences)


def look(request: Request) -> pa.Table:
    """Read the training data as they are.

    Args:
        request: what to read, and how.

    Returns:
        Every plain column.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the source cannot be read.
    """
    named = {"text": request.text, "text_pair": request.text_pair}
    known: Mapping[str, Any] = {k: v for k, v in named.items() if v is not None}
    label = request.label if isinstance(request.label, str) else None
    reading = Reading(**known, label=label, **request.layout)
    return read_table(find_parts(request.source)["train"], reading)


def split_names(label: str, request: Request) -> str | tuple[str, ...]:
    """Read `a,b,c` as three columns where the source has them.

    Args:
        label: names with commas between them, or one name.
        request: whose source has the columns.

    Returns:
        The names, or `label` as it is.
    """
    names = tuple(name.strip() for name in label.split(","))
    reading = Reading(text="", label=None, **request.layout)
    known = peek(request.source, reading).columns
    return names if label not in known and set(names) <= set(known) else label
