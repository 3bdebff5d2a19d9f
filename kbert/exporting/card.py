"""A model card in Hugging Face's form: metadata for machines, prose for people.

Every figure is the run's own, from its `report.json`; what is not known is left out.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kbert.exporting.head import Head
from kbert.presets.names import find_preset

_PIPELINES = {"tag": "token-classification", "answer": "question-answering"}
_LIBRARIES = {"huggingface": "transformers", "keras": "keras", "onnx": "onnx"}
_WORDS = {
    "classify": "gives each text one label",
    "multilabel": "gives each text any number of labels",
    "regress": "gives each text a score",
    "tag": "labels the words of a text",
    "answer": "answers questions with a part of a text",
}
_MOST_LABELS = 50
_SETTINGS = ("epochs", "batch_size", "learning_rate", "max_length", "seed", "precision")


def write_card(
    title: str,
    format: str,
    head: Head | None,
    label_names: Sequence[str],
    report: Mapping[str, Any],
    example: str,
    notes: Sequence[str],
) -> str:
    """Write a model card.

    Args:
        title: name of the model.
        format: what was exported.
        head: of the model; `None` where only Keras knows it.
        label_names: in id order.
        report: content of a run's `report.json`, or nothing.
        example: code that uses it, as Markdown.
        notes: sentences on what a reader must know.

    Returns:
        The page, Markdown after YAML.
    """
    metrics = _find_metrics(report)
    metadata = _build_metadata(title, format, head, report, metrics)
    yaml = "".join(f"{key}: {_write_yaml(value)}\n" for key, value in metadata.items())
    sections = [
        _describe_model(title, head, label_names, report),
        *(f"> {_plain(note)}" for note in notes),
        f"## Use\n\nIn this folder:\n\n{example}",
        _describe_figures(report, metrics),
        _describe_training(report),
        "## Limits\n\nThe figures are those of one run on one set of texts; other "
        "texts give other figures. No licence is stated: add `license:` to the "
        "metadata above before publishing, one that the encoder and the data allow.",
    ]
    return f"---\n{yaml}---\n\n" + "\n\n".join(filter(None, sections)) + "\n"


def read_report(folder: Path) -> dict[str, Any]:
    """Read a run's figures.

    Args:
        folder: of the run.

    Returns:
        What `report.json` holds, or nothing where there is none that can be read.
    """
    try:
        report = json.loads((folder / "report.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return report if isinstance(report, dict) else {}


def _get(report: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = report.get(key)
    return value if isinstance(value, Mapping) else {}


def _find_metrics(report: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the figures that are one number, with their intervals."""
    return {
        name: entry
        for name, entry in _get(report, "metrics").items()
        if isinstance(entry, Mapping) and isinstance(entry.get("value"), int | float)
    }


def _build_metadata(
    title: str,
    format: str,
    head: Head | None,
    report: Mapping[str, Any],
    metrics: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    preset = str(_get(report, "preset").get("name") or "")
    task = _PIPELINES.get(head.task if head else "", "text-classification")
    metadata: dict[str, Any] = {}
    info = find_preset(preset.removeprefix("hf://"))
    if info is not None:
        metadata["language"] = [info.language]
    metadata["library_name"] = _LIBRARIES.get(format, "kbert")
    metadata["pipeline_tag"] = task
    metadata["tags"] = ["kbert", "bert", task]
    if info is not None and info.aliases:
        metadata["base_model"] = info.aliases[0]
    elif preset.startswith("hf://"):
        metadata["base_model"] = preset.removeprefix("hf://").partition("@")[0]
    if metrics:
        metadata["metrics"] = list(metrics)
        metadata["model-index"] = [_index_results(title, task, report, metrics)]
    return metadata


def _index_results(
    title: str,
    task: str,
    report: Mapping[str, Any],
    metrics: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    data = _name_data(report)
    dataset = {"name": data, "type": data, "split": str(report.get("split", "test"))}
    results = [
        {"type": name, "name": name, "value": entry["value"]}
        for name, entry in metrics.items()
    ]
    return {
        "name": title,
        "results": [{"task": {"type": task}, "dataset": dataset, "metrics": results}],
    }


def _name_data(report: Mapping[str, Any]) -> str:
    """Name the data without the folders of the machine they lie on."""
    source = str(_get(report, "data").get("source") or "unknown")
    return source.replace("\\", "/").rstrip("/").rpartition("/")[2]


def _write_yaml(value: Any) -> str:
    """Write a value as JSON, which is YAML too."""
    return json.dumps(value, ensure_ascii=False)


def _describe_model(
    title: str,
    head: Head | None,
    label_names: Sequence[str],
    report: Mapping[str, Any],
) -> str:
    what = _WORDS.get(head.task, "reads texts") if head else "reads texts"
    preset = _get(report, "preset").get("name")
    base = f", fine-tuned from {_code(preset)}" if preset else ""
    lines = [f"# {_plain(title)}", "", f"A model that {what}{base}, made with kbert."]
    if label_names:
        shown = ", ".join(f"{_code(name)}" for name in label_names[:_MOST_LABELS])
        more = len(label_names) - _MOST_LABELS
        lines += ["", f"Labels: {shown}{f' and {more} more' if more > 0 else ''}."]
    return "\n".join(lines)


def _describe_figures(
    report: Mapping[str, Any], metrics: Mapping[str, Mapping[str, Any]]
) -> str:
    if not metrics:
        return "## Figures\n\nNone were measured with this export."
    count = _get(_get(report, "data"), "rows").get(report.get("split", ""))
    on = f"{count:,} held-out rows" if isinstance(count, int) else "held-out rows"
    lines = [
        "## Figures",
        "",
        f"Measured on {on} of {_code(_name_data(report))} (the "
        f"{_plain(report.get('split', 'test'))} part), with 95 % bootstrap intervals "
        "where they were computed.",
        "",
        "| figure | value | interval |",
        "|---|---|---|",
    ]
    for name, entry in metrics.items():
        low, high = entry.get("low"), entry.get("high")
        is_known = isinstance(low, int | float) and isinstance(high, int | float)
        interval = f"{low:.4f} to {high:.4f}" if is_known else ""
        lines.append(f"| {_plain(name)} | {entry['value']:.4f} | {interval} |")
    used = [one for one in _list_thresholds(report) if one.get("is_used")]
    if used:
        lines += ["", "The figures are at " + _name_thresholds(used)]
    return "\n".join(lines)


def _list_thresholds(report: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return _get(report, "trust").get("thresholds") or ()


def _name_thresholds(used: Sequence[Mapping[str, Any]]) -> str:
    """Say by which thresholds labels were given."""
    shown = ", ".join(
        f"{_code(one['label_name'])} from {one['threshold']:.6g}"
        for one in used[:_MOST_LABELS]
    )
    more = f" and {len(used) - _MOST_LABELS} more" * (len(used) > _MOST_LABELS)
    which = "this threshold" if len(used) == 1 else "these thresholds"
    return f"{which} of the probability: {shown}{more}."


def _describe_training(report: Mapping[str, Any]) -> str:
    rows = _get(_get(report, "data"), "rows").get("train")
    config = _get(report, "config")
    known = {key: config[key] for key in _SETTINGS if config.get(key) is not None}
    lines = ["## Training", ""]
    if isinstance(rows, int):
        lines.append(f"Trained on {rows:,} rows of {_code(_name_data(report))}.")
    if known:
        said = ", ".join(f"{k.replace('_', ' ')} {_plain(v)}" for k, v in known.items())
        lines.append(f"Settings: {said}.")
    for notice in report.get("notices") or ():
        lines.append(_plain(notice))
    return "\n".join(lines) if len(lines) > 2 else ""


def _plain(value: Any) -> str:
    """Keep text from becoming markup, or ending its line."""
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", " ".join(str(value).split()))


def _code(value: Any) -> str:
    """Show a name as it is."""
    return "`" + " ".join(str(value).replace("`", "'").split()) + "`"
