"""How figures, durations and other people's texts are written in a report."""

import re
import unicodedata
from typing import Any

METRIC_NAMES = {
    "accuracy": "accuracy",
    "batch_mean_accuracy": "accuracy, mean over batches",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "precision_macro": "precision, macro",
    "recall_macro": "recall, macro",
    "f1_macro": "F1, macro",
    "precision_weighted": "precision, weighted",
    "recall_weighted": "recall, weighted",
    "f1_weighted": "F1, weighted",
    "log_loss": "log loss",
    "matthews_correlation": "Matthews correlation",
    "roc_auc": "ROC AUC",
    "expected_calibration_error": "calibration error",
    "f1_micro": "F1, micro",
    "precision_micro": "precision, micro",
    "recall_micro": "recall, micro",
    "subset_accuracy": "all labels right",
    "ranking_precision": "ranking precision",
    "pearson": "Pearson correlation",
    "spearman": "Spearman correlation",
    "mean_squared_error": "mean squared error",
    "mean_absolute_error": "mean absolute error",
}
# Figures that are no share of a whole.
UNBOUNDED = {
    "log_loss",
    "matthews_correlation",
    "mean_squared_error",
    "mean_absolute_error",
}
_NOTHING = "–"
# Format characters that reorder or hide what follows; joiners and direction marks,
# which honest texts need, are left alone.
_REORDERING = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_MARKDOWN = re.compile(r"([\\`*_\[\]|~#!$])")


def figure(value: Any, like: float | None = None) -> str:
    """Write a measured figure: three decimals, one from 100 on; thousands separated.

    Args:
        value: number, text or `None`.
        like: number whose decimals it gets; `None`: its own.

    Returns:
        Text such as `0.812`, `1,523` or `–`.
    """
    if value is None or value != value:
        return _NOTHING
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return printable(str(value))
    if isinstance(value, int):
        return f"{value:,}".replace("-", "\u2212")
    if value and abs(value) < 0.0005:
        return f"{value:.1e}".replace("-", "\u2212")
    decimals = _count_decimals(value if like is None else like)
    return f"{value:,.{decimals}f}".replace("-", "\u2212")


def _count_decimals(value: float) -> int:
    return 3 if abs(value) < 100 else 1


def signed(value: Any) -> str:
    """Write a figure with its sign.

    Args:
        value: number or `None`.

    Returns:
        Text such as `+0.012` or `–`.
    """
    if value is None or value != value:
        return _NOTHING
    return f"{value:+,.3f}".replace("-", "\u2212")


def spread(found: Any) -> str:
    """Write a figure of several runs: their mean and its standard deviation.

    Args:
        found: `mean` (number or `None`) and `sd` (`None` for one run).

    Returns:
        Text such as `0.812 ± 0.004`; one run's figure stands alone.
    """
    mean = figure(found["mean"])
    if found["sd"] is None or isinstance(found["mean"], int):  # a count, or nothing
        return mean
    # A deviation has the decimals of its mean, unless the mean itself needs more.
    is_small = 0 < abs(found["mean"]) < 0.0005
    decimals = _count_decimals(found["mean"])
    sd = figure(found["sd"]) if is_small else format(found["sd"], f".{decimals}f")
    return f"{mean} ± {sd}"


def epoch_cell(value: Any, name: str) -> str:
    """Write a value of an epoch by what it is.

    Args:
        value: number or `None`.
        name: of its column.

    Returns:
        A duration, a learning rate or a figure.
    """
    if name == "seconds":
        return duration(value)
    return setting(value) if name == "learning_rate" else figure(value)


def difference(row: Any) -> str:
    """Write how far a measured figure is from the documented one.

    Args:
        row: a documented row, with `documented` and `measured`.

    Returns:
        Text such as `+0.012`; empty where one of them is no number.
    """
    measured, low = pair = (row.get("measured"), row.get("documented"))
    if not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in pair):
        return ""
    high = row.get("documented_to") or low
    return signed(measured - min(max(measured, low), high))


def claimed(row: Any) -> str:
    """Write a documented figure, or the range that is documented.

    Args:
        row: with `documented`, and perhaps `documented_to`.

    Returns:
        Text such as `0.9` or `0.89–0.91`.
    """
    high = row.get("documented_to")
    shown = setting(row.get("documented"))
    return shown if high is None else f"{shown}–{setting(high)}"


def setting(value: Any) -> str:
    """Write a setting as the user would type it.

    Args:
        value: of a configuration.

    Returns:
        Text such as `2e-05`, `yes` or `–`.
    """
    if value is None or value != value:
        return _NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(setting(item) for item in value) or _NOTHING
    if isinstance(value, dict):
        return ", ".join(f"{k}: {setting(v)}" for k, v in value.items()) or _NOTHING
    return printable(str(value))


def duration(seconds: Any) -> str:
    """Write a duration as people say it.

    Args:
        seconds: number or `None`.

    Returns:
        Text such as `3 min 41 s` or `0.8 s`.
    """
    if not isinstance(seconds, (int, float)) or seconds != seconds:
        return _NOTHING
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def gigabytes(num_bytes: Any) -> str:
    """Write a size in GiB.

    Args:
        num_bytes: number or `None`.

    Returns:
        Text such as `15.6 GiB`.
    """
    if not isinstance(num_bytes, (int, float)):
        return _NOTHING
    return f"{num_bytes / 2**30:,.1f} GiB"


def metric_name(name: str) -> str:
    """Write a metric's name in words.

    Args:
        name: key of `compute_metrics` or of a history.

    Returns:
        Its name in words; other names with spaces for underscores.
    """
    return METRIC_NAMES.get(name) or name.replace("_", " ")


def printable(text: str, limit: int | None = None) -> str:
    """Make a text safe to look at: nothing invisible, nothing out of order.

    Control characters get their Unicode pictures, lone surrogates and characters that
    reorder a line are named. What HTML or Markdown would take for markup is left for
    those who write HTML or Markdown.

    Args:
        text: any text.
        limit: most characters to keep; `None` keeps all.

    Returns:
        The text; cut ones end in `…`.
    """
    if limit is not None and len(text) > limit:
        text = text[:limit].rstrip() + "…"
    return "".join(map(_printable, text))


def _printable(character: str) -> str:
    code = ord(character)
    if character in "\n\t ":
        return character
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\u2421"
    is_odd = unicodedata.category(character) in ("Cc", "Cs") or code & 0xFFFE == 0xFFFE
    if is_odd or character in _REORDERING or 0xFDD0 <= code <= 0xFDEF:
        return f"‹U+{code:04X}›"
    return character


def markdown(value: Any) -> str:
    """Write a value so that Markdown shows it as it is, in a table as well.

    Args:
        value: anything with a text form.

    Returns:
        One line; nothing in it is markup or HTML.
    """
    line = " ".join(printable(str(value)).split())
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKDOWN.sub(r"\\\1", line)


def code(text: Any) -> str:
    """Write a text as Markdown code within a line, in a table as well.

    Args:
        text: any text.

    Returns:
        One line between backticks, more of them than any run in the text has.
    """
    line = " ".join(printable(str(text)).split()).replace("|", r"\|")
    longest = max((len(run) for run in re.findall("`+", line)), default=0)
    fence = "`" * (longest + 1)
    space = " " if longest else ""
    return f"{fence}{space}{line}{space}{fence}"


def fenced(text: str) -> str:
    """Write a text as a Markdown code block.

    Args:
        text: any text.

    Returns:
        The block; its fence is longer than any in the text.
    """
    shown = printable(str(text))
    longest = max((len(run) for run in re.findall("`+", shown)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{shown}\n{fence}"
