"""One explanation as a page of its own."""

from pathlib import Path
from typing import TYPE_CHECKING

from kbert.report.rendering import read_style, render
from kbert.report.trust_sections import arrange_explanation
from kbert.writing import replace_whole

if TYPE_CHECKING:
    from kbert.explaining import Explanation


def render_explanation(explanation: "Explanation") -> str:
    """Write an explanation as one page of HTML.

    Args:
        explanation: of `kbert.explain`.

    Returns:
        The page, which loads nothing and has no script.
    """
    from kbert import __version__

    arranged = arrange_explanation(explanation.to_json())
    return render(
        "explanation.html",
        title="Which words count",
        version=__version__,
        style=read_style(),
        headline=explanation.headline,
        one=arranged,
    )


def write_explanation(path: Path, explanation: "Explanation") -> None:
    """Write an explanation's page to a file, whole or not at all.

    Args:
        path: of the file; one that exists is replaced.
        explanation: of `kbert.explain`.

    Raises:
        OSError: the file cannot be written.
    """
    page = render_explanation(explanation)
    with replace_whole(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
