"""Write a run's report: for programs, for repositories and for people to look at."""

from collections.abc import Callable
from functools import cache
from importlib import resources
from typing import Any

from kbert.report import wording
from kbert.report.folder import RunFolder
from kbert.report.plain import dump_csv, dump_json
from kbert.report.run import Run
from kbert.report.sections import arrange

# Characters of a mistake's text that the reports show; report.json has more.
NUM_TEXT_CHARACTERS = 600


def write_report(folder: RunFolder, run: Run) -> None:
    """Write everything a run has to say into its folder.

    `config.json` (every setting), `history.csv` (a line an epoch), `report.json`,
    `report.md` and `report.html`, one after the other and each whole; what the run
    has written under these names before is replaced. All are made before the first is
    written, so what cannot be shown leaves the folder as it was.

    Args:
        folder: where to write.
        run: what to report.

    Raises:
        ValueError: a field of the run holds what a report cannot show.
        OSError: the disk is full or a file may not be written.
    """
    config = {"recipe": run.recipe, **run.config}
    files = {
        "config.json": dump_json(config, "the configuration"),
        "history.csv": dump_csv(run.history),
        "report.json": dump_json(run.to_json(), "the report"),
        "report.md": render_markdown(run),
        "report.html": render_html(run),
    }
    for name, text in files.items():
        folder.write_text(name, text)


def render_markdown(run: Run) -> str:
    """Write the report as Markdown (GitHub's).

    Args:
        run: what to report.

    Returns:
        The page; whatever texts and names hold, none of it becomes markup.
    """
    return _template("report.md").render(arrange(run), NUM_TEXT=NUM_TEXT_CHARACTERS)


def render_html(run: Run) -> str:
    """Write the report as one page of HTML.

    Args:
        run: what to report.

    Returns:
        The page. It needs nothing else and asks for nothing: plots are inline SVG,
        there is no script, and its security policy forbids both.
    """
    context = arrange(run)
    style = resources.files("kbert.report") / "templates" / "style.css"
    return _template("report.html").render(
        context,
        plots=_draw(run, context["panels"]),
        style=style.read_text("utf-8"),
        NUM_TEXT=NUM_TEXT_CHARACTERS,
    )


def _draw(run: Run, panels: list[str]) -> dict[str, Any]:
    """Draw the plots that the run has the figures for."""
    import numpy as np

    from kbert.report import plots

    drawn: dict[str, Any] = {
        "history": [
            (name, svg)
            for name in panels
            if (svg := plots.plot_metric(run.history, name, run.kept_epoch))
        ],
        "reliability": None,
        "precision_recall": None,
        "curves": [],
        "lengths": None,
    }
    if run.labels is not None and run.probabilities is not None and len(run.labels):
        labels, probabilities = np.asarray(run.labels), np.asarray(run.probabilities)
        drawn["reliability"] = plots.plot_reliability(labels, probabilities)
        classes = [1]
        if probabilities.shape[1] > 2:
            counts = np.bincount(labels, minlength=probabilities.shape[1])
            classes = np.argsort(-counts, kind="stable")[:6].tolist()
        svg, curves = plots.plot_precision_recall(labels, probabilities, classes)
        if curves:
            drawn |= {"precision_recall": svg, "curves": curves}
    if run.lengths is not None and len(run.lengths):
        max_length = run.data.get("max_length")
        drawn["lengths"] = plots.plot_lengths(np.asarray(run.lengths), max_length)
    return drawn


@cache
def _template(name: str) -> Any:
    """Load a template; each value is escaped unless the template says otherwise."""
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
        "difference": wording.difference,
        "duration": wording.duration,
        "epoch_cell": wording.epoch_cell,
        "fenced": lambda text: _Markdown(wording.fenced(text)),
        "figure": wording.figure,
        "metric": wording.metric_name,
        "setting": wording.setting,
        "cut": wording.printable,
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
