"""Templates and styles of the pages that kbert writes."""

from collections.abc import Callable
from functools import cache
from importlib import resources
from typing import Any
from urllib.parse import quote

from kbert.report import wording

_FOLDER = resources.files("kbert.report") / "templates"


def render(template: str, /, **context: Any) -> str:
    """Fill a template.

    Args:
        template: name of a file in `templates`. In HTML and in Markdown, each value is
            shown as it is: none becomes markup unless the template says so.
        context: what the template shows, by name.

    Returns:
        The page.
    """
    return _load(template).render(context)


def read_style() -> str:
    """Read the style sheet of the HTML pages."""
    return read_palette() + (_FOLDER / "style.css").read_text("utf-8")


def read_palette() -> str:
    """Read the colours, light and dark, that pages and plots name."""
    return (_FOLDER / "palette.css").read_text("utf-8")


@cache
def _load(name: str) -> Any:
    import jinja2

    is_html = name.endswith(".html")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("kbert.report", "templates"),
        autoescape=is_html,
        finalize=_finalize if is_html else _finalize_markdown,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters: dict[str, Callable[..., Any]] = {
        "as_is": _Markdown,
        "code": lambda text: _Markdown(wording.code(text)),
        "difference": wording.difference,
        "duration": wording.duration,
        "epoch_cell": wording.epoch_cell,
        "fenced": lambda text: _Markdown(wording.fenced(text)),
        "figure": wording.figure,
        "memory": wording.gigabytes,
        "headline": lambda text: text[:1].upper() + text[1:],
        "metric": wording.metric_name,
        "claimed": wording.claimed,
        "setting": wording.setting,
        "signed": wording.signed,
        "spread": wording.spread,
        "cut": wording.printable,
        "address": lambda path: _Markdown(quote(path)),
    }
    environment.filters |= filters
    return environment.get_template(name)


class _Markdown(str):
    """Text that is Markdown already."""


def _finalize(value: Any) -> Any:
    """Make text printable; what is marked as safe already passes."""
    return wording.printable(value) if type(value) is str else value


def _finalize_markdown(value: Any) -> Any:
    return value if isinstance(value, _Markdown) else wording.markdown(value)
