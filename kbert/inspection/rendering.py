"""An inspection as text for terminals and as HTML for notebooks."""

import textwrap
import unicodedata
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kbert.inspection.finding import Example, Finding
    from kbert.inspection.inspection import Inspection

WIDTH = 80
_NUM_ROWS = 8
_NUM_CLASSES = 12
_MARKS = {"error": "ERROR", "warning": "warning", "note": "note"}
_COLOURS = {"error": "#a4262c", "warning": "#8a5a00", "note": "#3b5b7a"}


def render_text(inspection: "Inspection") -> str:
    """Write an inspection for a terminal.

    Args:
        inspection: what to write.

    Returns:
        Lines of at most 80 characters; nothing in them moves the cursor.
    """
    lines = [
        *_wrap(_plain(f"Inspected {inspection.source}."), ""),
        *(line for one in inspection.guesses for line in _wrap(_plain(one), "")),
        *_describe_rows(inspection),
    ]
    for finding in inspection.findings:
        lines += ["", *_describe_finding(finding)]
    if inspection.findings:
        lines += ["", "Rows are counted from 0, a header not counted."]
    else:
        lines += ["", "Nothing wrong was found."]
    for note in inspection.notes:
        lines += ["", *_wrap(_plain(f"Not checked: {note}"), "  ")]
    return "\n".join(lines)


def _describe_rows(inspection: "Inspection") -> list[str]:
    lines = []
    for part, num_rows in inspection.num_rows.items():
        counts = inspection.label_counts.get(part, {})
        counts = {name: count for name, count in counts.items() if count}
        largest = sorted(counts.items(), key=lambda item: -item[1])[:_NUM_CLASSES]
        shown = largest if len(counts) > _NUM_CLASSES else list(counts.items())
        named = ", ".join(f"{name} {count:,}" for name, count in shown)
        more = f" and {len(counts) - len(shown):,} more" if counts else ""
        more = more if len(counts) > len(shown) else ""
        line = f"{part}: {num_rows:,} rows{': ' if named else ''}{named}{more}"
        lines += _wrap(_plain(line), "  ")
    if inspection.truncation is not None:
        lines += _wrap(inspection.truncation.summary(), "")
    if inspection.languages:
        told = sum(inspection.languages.values())
        main = next(iter(inspection.languages))
        lines += _wrap(
            f"Main language: {main} ({inspection.languages[main]:,} of {told:,} texts "
            "that are long enough to tell).",
            "",
        )
    return lines


def _describe_finding(finding: "Finding") -> list[str]:
    head = f"{_MARKS[finding.severity]}  {finding.kind.replace('_', ' ')}"
    lines = [head, *_wrap(_plain(finding.sentence), "  ", "  ")]
    for example in finding.examples:
        lines.append(_shorten(f"    {_describe_example(example)}"))
    lines += _wrap(f"Rows: {list_rows(finding)}", "  ", "  ")
    return [*lines, *_wrap(f"-> {finding.advice}", "     ", "  ")]


def list_rows(finding: "Finding") -> str:
    """List the first rows of a finding, by part."""
    parts = []
    for part, rows in finding.rows.items():
        shown = ", ".join(map(str, rows[:_NUM_ROWS].tolist()))
        parts.append(f"{part} {shown}{', ...' if len(rows) > _NUM_ROWS else ''}")
    return "; ".join(parts)


def _describe_example(example: "Example") -> str:
    detail = f" ({_plain(example.detail)})" if example.detail else ""
    return f"{example.part} {example.row}{detail}: {_plain(example.text)}"


def _wrap(text: str, indent: str, first: str = "") -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=indent
    ) or [""]


def _shorten(line: str) -> str:
    """Cut a line to the columns there are; East Asian characters take two."""
    width = 0
    for place, character in enumerate(line):
        width += 2 if unicodedata.east_asian_width(character) in "WF" else 1
        if width > WIDTH - 1 and place < len(line) - 1:
            return line[:place] + "…"
    return line


def _plain(text: str) -> str:
    """Return a text on one line, with nothing that a terminal would obey."""
    line = " ".join(text.split())
    return "".join(
        character if character.isprintable() else f"<U+{ord(character):04X}>"
        for character in line
    )


def render_html(inspection: "Inspection") -> str:
    """Write an inspection for a notebook.

    Args:
        inspection: what to write.

    Returns:
        HTML; no text becomes markup.
    """
    lines = [*map(_plain, inspection.guesses), *_describe_rows(inspection)]
    head = "".join(f"<li>{escape(line)}</li>" for line in lines)
    notes = "".join(f"<p>Not checked: {escape(n)}</p>" for n in inspection.notes)
    body = "".join(map(_render_finding, inspection.findings))
    return (
        f"<div><p><b>Inspected {escape(_plain(inspection.source))}</b></p>"
        f"<ul>{head}</ul>{body or '<p>Nothing wrong was found.</p>'}{notes}</div>"
    )


def _render_finding(finding: "Finding") -> str:
    rows = "".join(
        f"<tr><td>{escape(e.part)}</td><td>{e.row}</td>"
        f'<td style="text-align:left">{escape(_plain(e.text))}</td>'
        f'<td style="text-align:left">{escape(_plain(e.detail))}</td></tr>'
        for e in finding.examples
    )
    colour = _COLOURS[finding.severity]
    return (
        f'<details><summary><b style="color:{colour}">{finding.severity}</b> '
        f"{escape(_plain(finding.sentence))}</summary>"
        f"<p>{escape(finding.advice)} Rows: {escape(list_rows(finding))}</p>"
        "<table><thead><tr><th>part</th><th>row</th><th>text</th><th></th></tr>"
        f"</thead><tbody>{rows}</tbody></table></details>"
    )
