"""A run that is over: its folder, its model, its figures."""

import base64
import html
import json
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kbert.report.wording import figure, metric_name
from kbert.tasks import Request, Task, find_task
from kbert.tasks.task import READ_ALIKE

if TYPE_CHECKING:
    from kbert.explaining import Explanation
    from kbert.exporting.export import Format
    from kbert.models import Model

MODEL_FILE, REPORT_FILE = "model.keras", "report.html"


class TrainedRun:
    """A trained model with its figures; notebooks show them as a table.

    Attributes:
        path: folder of the run.
        config: every setting, as `config.json` has them.
        report: everything measured, as `report.json` has it; empty for a run that was
            interrupted.

    Args:
        path: folder of the run; `kbert.load_run` checks it.
        config: what `config.json` holds.
        report: what `report.json` holds.
        model: the model, if it is in memory already.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        config: Mapping[str, Any],
        report: Mapping[str, Any],
        model: "Model | None" = None,
    ) -> None:
        self.path = Path(path)
        self.config = dict(config)
        self.report = dict(report)
        if model is not None:
            self.model = model

    @cached_property
    def model(self) -> "Model":
        """The model, read from the folder when it is first used."""
        from kbert.models import load_model

        return load_model(self.path / MODEL_FILE, compile=False)

    def __fspath__(self) -> str:
        """Return the folder, so that whatever takes a path takes a run."""
        return str(self.path)

    @property
    def task(self) -> Task:
        """What the model does."""
        return find_task(self.config["task"])

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the label ids."""
        return tuple(self.config.get("label_names") or ())

    @property
    def metrics(self) -> dict[str, Any]:
        """Figures and tables by name, as the task's `measure` returns them."""
        return dict(self.report.get("metrics") or {})

    @property
    def split(self) -> str:
        """Name of the part that `metrics` were measured on."""
        return str(self.report.get("split", "test"))

    def request(self, source: Any, **changes: Any) -> Request:
        """Ask for data as the run's own were read.

        Args:
            source: what to read.
            **changes: fields of `Request` to set; `None` is unset.

        Returns:
            The request, with the model's label names.
        """
        config = self.config
        label = config.get("label")
        known: dict[str, Any] = {
            "text": config.get("text"),
            "label": tuple(label) if isinstance(label, list) else label,
            "text_pair": config.get("text_pair"),
            "label_names": self.label_names or None,
        }
        given = {name: value for name, value in changes.items() if value is not None}
        read = config.get("reading") or {}
        # How labels are parted holds for any format; the layout is of one.
        is_alike = _has_format_of(source, config.get("source"))
        names = READ_ALIKE if is_alike else ("separator",)
        kept = {k: v for k, v in read.items() if k in names}
        given["reading"] = {**kept, **given.get("reading", {})}
        return Request(source=source, **{**known, **given})

    def evaluate(self, source: Any, **options: Any) -> "Figures":
        """Measure the model on labelled texts; see `kbert.evaluate`."""
        from kbert.runs.evaluation import evaluate

        return evaluate(self, source, **options)

    def predict(self, source: Any, out: Any = None, **options: Any) -> Any:
        """Predict texts; see `kbert.predict`."""
        from kbert.runs.prediction import predict

        return predict(self, source, out, **options)

    def explain(
        self, text: str, text_pair: str | None = None, **options: Any
    ) -> "Explanation":
        """Show which words a prediction hangs on; see `kbert.explain`."""
        from kbert.explaining import explain

        return explain(self, text, text_pair, **options)

    def export(self, format: "Format", out: str | os.PathLike, **options: Any) -> Path:
        """Write the model for other libraries; see `kbert.export`."""
        from kbert.exporting import export

        return export(self, format, out, **options)

    def write_report(self) -> Path:
        """Write the report anew from the folder; see `kbert.write_report`."""
        from kbert.runs.rebuilding import write_report

        return write_report(self)

    def __repr__(self) -> str:
        """Return the task, the place and the headlines."""
        shown = show_headlines(self.metrics, self.task.headlines)
        figures = f", {self.split} {shown}" if shown else ""
        return f"TrainedRun({str(self.path)!r}, task {self.task.name!r}{figures})"

    def _repr_html_(self) -> str:
        table = Figures(self.metrics, self.task.headlines, self.split)._repr_html_()
        return table + self._draw_curves()

    def _draw_curves(self) -> str:
        """Draw loss and metric by epoch, as images: their style stays theirs."""
        from kbert.report.figures import to_svg_file
        from kbert.report.plots import plot_metric

        history = self.report.get("history") or ()
        images = []
        for name in dict.fromkeys(("loss", self.task.metric)):
            svg = plot_metric(history, name, self.report.get("kept_epoch"))
            if svg is not None:
                data = base64.b64encode(to_svg_file(svg).encode()).decode()
                images.append(
                    f'<img alt="{html.escape(name)} by epoch" '
                    f'src="data:image/svg+xml;base64,{data}">'
                )
        return "".join(images)


class Figures(dict):
    """Figures of a model by name; a dict that notebooks show as a table.

    Args:
        metrics: as a task's `measure` returns them.
        headlines: names of the most important ones.
        split: what they were measured on, in a word.
    """

    def __init__(
        self, metrics: Mapping[str, Any], headlines: Sequence[str], split: str
    ) -> None:
        super().__init__(metrics)
        self.headlines = tuple(headlines)
        self.split = split

    def rows(self) -> list[tuple[str, str, str]]:
        """Return name, value and interval of each figure, as people read them."""
        found = []
        for name, row in self.items():
            if not isinstance(row, Mapping) or row.get("value") is None:
                continue
            interval = ""
            if row.get("low") is not None:
                interval = f"{figure(row['low'])} – {figure(row['high'])}"
            found.append((metric_name(name), figure(row["value"]), interval))
        return found

    def __str__(self) -> str:
        """Return the figures as lines of a table."""
        rows = [("figure", "value", "95 % interval"), *self.rows()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            f"{name.ljust(widths[0])}  {value.rjust(widths[1])}  {interval}".rstrip()
            for name, value, interval in rows
        )

    def _repr_html_(self) -> str:
        cells = [
            f"<tr><th style='text-align:left'>{html.escape(name)}</th><td>{value}</td>"
            f"<td>{interval}</td></tr>"
            for name, value, interval in self.rows()
        ]
        count = figure(self.get("num_examples"))
        return (
            f"<table><caption>{count} rows of {html.escape(self.split)}</caption>"
            "<thead><tr><th style='text-align:left'>figure</th><th>value</th>"
            "<th>95 % interval</th></tr></thead>"
            f"<tbody>{''.join(cells)}</tbody></table>"
        )


def show_headlines(metrics: Mapping[str, Any], names: Sequence[str]) -> str:
    """Put the figures that sum a model up into a line.

    Args:
        metrics: as a task's `measure` returns them.
        names: of the figures.

    Returns:
        Text such as `accuracy 0.812, F1 0.790`; empty where nothing was measured.
    """
    found = [(name, metrics.get(name) or {}) for name in names]
    return ", ".join(
        f"{metric_name(name)} {figure(row['value'])}"
        for name, row in found
        if row.get("value") is not None
    )


def load_run(path: str | os.PathLike | TrainedRun) -> TrainedRun:
    """Open the folder of a run.

    Args:
        path: folder that `kbert.train` wrote, or a run, which is returned as it is.

    Returns:
        The run; its model is read when it is first used.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it is no run folder, or a damaged one.
    """
    if isinstance(path, TrainedRun):
        return path
    folder = Path(path).expanduser()
    if not folder.exists():
        raise FileNotFoundError(f"there is no run folder {folder}; check the path.")
    if not folder.is_dir():
        raise ValueError(f"{folder} is a file, not a run folder. Pass its folder.")
    config = _read_json(folder / "config.json", folder)
    if "task" not in config:
        raise ValueError(
            f"{folder} is no run of kbert train: its config.json names no task. Pass a "
            "folder that kbert train wrote."
        )
    find_task(config["task"])
    if not (folder / MODEL_FILE).is_file():
        raise ValueError(
            f"{folder} holds no {MODEL_FILE}: its training has not come to an end. "
            "Train again, or pass another run."
        )
    report = folder / "report.json"
    return TrainedRun(
        folder, config, _read_json(report, folder) if report.exists() else {}
    )


def _has_format_of(source: Any, other: Any) -> bool:
    """Whether two paths end alike, so that one is read as the other was."""
    if not isinstance(source, str | Path) or not isinstance(other, str):
        return False
    return Path(source).suffix.lower() == Path(other).suffix.lower()


def _read_json(path: Path, folder: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ValueError(
            f"{folder} is no run folder: it holds no {path.name}. Pass a folder that "
            "kbert train wrote."
        ) from None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"{path} is damaged: it is not a JSON object. Train again.")
    return found
