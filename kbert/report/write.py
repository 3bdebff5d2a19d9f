"""Write a run's report: for programs, for repositories and for people to look at."""

from typing import Any

from kbert.report.folder import RunFolder
from kbert.report.plain import dump_csv, dump_json
from kbert.report.rendering import read_style, render
from kbert.report.run import Run
from kbert.report.sections import arrange
from kbert.report.trust_sections import draw_trust

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
    return render("report.md", **arrange(run), NUM_TEXT=NUM_TEXT_CHARACTERS)


def render_html(run: Run) -> str:
    """Write the report as one page of HTML.

    Args:
        run: what to report.

    Returns:
        The page. It needs nothing else and asks for nothing: plots are inline SVG,
        there is no script, and its security policy forbids both.
    """
    context = arrange(run)
    return render(
        "report.html",
        **context,
        title=run.title,
        version=(run.environment.get("packages") or {}).get("kbert", ""),
        plots=_draw(run, context["panels"]) | {"trust": draw_trust(run.trust)},
        style=read_style(),
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
        "scores": None,
        "lengths": None,
    }
    if run.lengths is not None and len(run.lengths):
        max_length = run.data.get("max_length")
        drawn["lengths"] = plots.plot_lengths(np.asarray(run.lengths), max_length)
    if run.labels is not None and run.probabilities is not None and len(run.labels):
        labels, probabilities = np.asarray(run.labels), np.asarray(run.probabilities)
        if "scores" in run.pictures:
            return drawn | {"scores": plots.plot_scores(labels, probabilities)}
        drawn["reliability"] = plots.plot_reliability(labels, probabilities)
        classes = [1]
        if probabilities.shape[1] > 2:
            counts = np.bincount(labels, minlength=probabilities.shape[1])
            classes = np.argsort(-counts, kind="stable")[:6].tolist()
        svg, curves = plots.plot_precision_recall(labels, probabilities, classes)
        if curves:
            drawn |= {"precision_recall": svg, "curves": curves}
    return drawn
