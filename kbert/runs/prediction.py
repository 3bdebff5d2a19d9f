"""Predict texts of any number: a table in, the same table with predictions out."""

import contextlib
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, zip_longest
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from kbert.data.files import DELIMITED_SUFFIXES, Reading
from kbert.data.folders import find_parts
from kbert.data.opening import COMPRESSIONS, format_suffix
from kbert.data.sources import read_table
from kbert.report import RunFolder
from kbert.runs.tables import Added, Lines, Parquet, Records, Table, open_table
from kbert.runs.thresholds import find_options
from kbert.runs.trained import TrainedRun, load_run
from kbert.status_line import StatusLine
from kbert.tasks import Request
from kbert.writing import in_utf8

if TYPE_CHECKING:
    import pandas as pd

STANDARD = "-"
_PREFIX = "predicted_"
_COMPARED_ROWS = 256  # that are predicted exactly as well, to say what rounding changes


@dataclass
class Written:
    """What a prediction wrote.

    Args:
        path: of the file, or `-` for standard output.
        num_rows: rows predicted.
        label_counts: how often each label, or set of labels, was predicted; empty for
            scores, tags and answers.
    """

    path: str
    num_rows: int = 0
    label_counts: Counter = field(default_factory=Counter)


def predict(
    run: str | os.PathLike | TrainedRun,
    source: Any,
    out: str | os.PathLike | None = None,
    *,
    text: str | None = None,
    text_pair: str | None = None,
    batch_size: int = 32,
    quantize: str | None = None,
    threshold: float | None = None,
    **reading: Any,
) -> Any:
    """Predict every row of a table, however long it is.

    Args:
        run: folder that `train` wrote, or what it returned.
        source: path of a CSV, TSV, JSON lines or Parquet file, which is read some
            rows at a time; `-` for standard input, one text a line; a list of texts
            or of pairs; a DataFrame, `datasets.Dataset` or `pyarrow.Table`.
        out: file to write, in the format of `source`; `-` for standard output; `None`
            returns the rows instead.
        text: column of the texts; `None`: as in training.
        text_pair: column of the second texts of pairs, likewise.
        batch_size: texts a batch.
        quantize: `int8` multiplies in 8 bits on a CPU, and says for how many of the
            first rows that changes something.
        threshold: probability from which a row is of the second class, or has a
            label, in (0, 1); `None`: as the model was trained to decide.
        **reading: further arguments of `kbert.load_split`, such as `delimiter`.

    Returns:
        The input's columns and the predictions': of a classifier `label`,
        `probability` and `probability_<label>` for each label; of several labels the
        same without `probability`, of a score `label`; of tagged words `tags` and
        `entities`; `answer`, `start`, `end` and `probability`. A column whose name
        the input has already is called `predicted_<name>`, or `predicted_<name>_2`
        and so on where the input has that too. With `out`, what was written.

    Raises:
        FileNotFoundError: the file or the run is missing.
        ValueError: the rows do not fit the model; the sentence says how.
        OSError: the file cannot be written; what was there is untouched.

    Example:
        >>> kbert.predict("runs/first", ["what a film"])
        >>> kbert.predict("runs/first", "new.csv", out="predicted.csv")
    """
    run = load_run(run)
    request = run.request(source, text=text, text_pair=text_pair, reading=reading)
    options = find_options(run.task, run.model, threshold)
    predictor = _Predictor(run, batch_size, quantize, options)
    if not isinstance(source, str | os.PathLike):
        names = _name_inputs(run, request, _list_columns(source))
        return _predict_memory(predictor, source, names, out)
    table = _open(run, source, request)
    names = _name_inputs(run, request, table.names)
    for name in names:
        table.require(name)
        _require_one(name, table.names, f"{table.path} has")
    if isinstance(table, Parquet):
        types = run.task.find_column_types()
        table.types = {_name_added(n, table.names): kind for n, kind in types.items()}
    written = Written("" if out is None else str(out))
    chunks = _predict_chunks(predictor, table, names, written)
    if out is None:
        return _to_frame(table, chunks)
    if str(out) == STANDARD:
        if isinstance(table, Parquet):
            raise ValueError("Parquet cannot be written to standard output; pass out=.")
        with in_utf8(sys.stdout):
            table.write(sys.stdout, chunks)
    else:
        with _replacing(Path(out), source, table) as file:
            table.write(file, chunks)
    return written


def _open(run: TrainedRun, source: Any, request: Request) -> Table:
    if str(source) == STANDARD:
        names = _name_inputs(run, request, ["text"])
        return Lines(sys.stdin.buffer, names, run.task.is_nested)
    path = Path(source)
    if path.is_file():
        rows = run.task.read_records(path, request.layout)
        if rows is not None:
            return Records(path, rows)
    return open_table(path, Reading(text=request.text or "", **request.layout))


def _list_columns(source: Any) -> list[str]:
    names = getattr(source, "column_names", getattr(source, "columns", ()))
    return list(map(str, names))


def _name_inputs(run: TrainedRun, request: Request, known: Sequence[str]) -> list[str]:
    """Name the columns that are predicted: as in training, or the usual ones."""
    asked = [request.text, request.text_pair]
    named = [name for name in asked if name is not None]
    usual = run.task.inputs
    if len(usual) == 1 and named:
        return named
    found = [next((n for n in own if n in known), own[0]) for own in usual]
    return [name or own for name, own in zip_longest(asked[: len(usual)], found)]


def _require_one(name: str, names: Sequence[Any], words: str) -> None:
    if names.count(name) > 1:
        raise ValueError(f"{words} several columns {name!r}; rename all but one.")


class _Predictor:
    """Predicts columns of texts with a run's model, exactly or in 8 bits.

    Args:
        run: whose model predicts.
        batch_size: texts a batch.
        quantize: `int8`, or `None` for exact products.
        options: by what it decides; see `Task.find_options`.

    Raises:
        ValueError: there is no such rounding.
    """

    def __init__(
        self,
        run: TrainedRun,
        batch_size: int,
        quantize: str | None,
        options: dict[str, Any],
    ) -> None:
        if quantize not in (None, "int8"):
            raise ValueError(f"quantize must be 'int8' or None; received {quantize!r}.")
        self.run, self._batch_size, self._options = run, batch_size, options
        self._is_rounded = self._is_new = quantize is not None

    def predict(self, columns: Sequence[list], taken: Sequence[str]) -> dict[str, list]:
        """Return the columns of predictions, under names that are not taken."""
        inputs = columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))
        with contextlib.ExitStack() as blocks:
            for backbone in self.run.model.backbones if self._is_rounded else ():
                blocks.enter_context(backbone.in_int8())
            added = self._tabulate(inputs)
        if self._is_new:
            self._is_new = False
            self._compare(inputs[:_COMPARED_ROWS], added)
        return {_name_added(name, taken): values for name, values in added.items()}

    def _tabulate(self, inputs: list) -> dict[str, list]:
        task, model = self.run.task, self.run.model
        predictions = task.predict(model, inputs, batch_size=self._batch_size)
        return task.tabulate(model, inputs, predictions, **self._options)

    def _compare(self, inputs: list, rounded: Added) -> None:
        """Say what rounding changes in the column that matters most."""
        (name, exact), *_ = self._tabulate(inputs).items()
        pairs = list(zip(exact, rounded[name], strict=False))
        if all(isinstance(one, float) for one in exact):
            most = max(abs(one - other) for one, other in pairs)
            change = f"the {name} of the first {len(pairs):,} rows differs by at most "
            change += f"{most:.4g}"
        else:
            same = sum(one == other for one, other in pairs) / len(pairs)
            change = f"{100 * same:.1f} % of the first {len(pairs):,} rows have the "
            change += f"{name} that they have exactly"
        logging.getLogger("kbert").warning("in int8, %s", change)


def _predict_chunks(
    predictor: _Predictor, table: Table, names: Sequence[str], written: Written
) -> Iterator[tuple[Any, Added]]:
    """Yield each chunk with the columns that are added to it, and say how it goes."""
    label = _name_added("label", table.names)
    line, started = StatusLine(sys.stderr), time.perf_counter()
    # Rows that go to the screen show how far they are, and would be mixed with it.
    is_shown = written.path != STANDARD or not sys.stdout.isatty()
    try:
        for chunk in table.read():
            columns = [
                check_texts(table.column(chunk, name), name, written.num_rows)
                for name in names
            ]
            added = predictor.predict(columns, table.names)
            written.num_rows += len(columns[0])
            labels = added.get(label, ())
            written.label_counts.update(one for one in labels if isinstance(one, str))
            yield chunk, added
            if is_shown:
                say_predicted(line, started, written.num_rows)
    finally:  # an error's sentence has a line of its own
        line.clear()
    if not written.num_rows:
        raise ValueError(f"{table.path} holds no rows; there is nothing to predict.")


def say_predicted(
    line: StatusLine, started: float, num_rows: int, total: int | None = None
) -> None:
    """Say how far a prediction is, if the last word on it is old enough.

    Args:
        line: to draw.
        started: `time.perf_counter` when it began.
        num_rows: rows predicted.
        total: rows there are, where that is known.
    """
    if line.is_due():
        of = "" if total is None else f"of {total:,} "
        rate = num_rows / (time.perf_counter() - started)
        line.draw(f"{num_rows:,} {of}rows predicted  {rate:,.0f} rows/s")


def _name_added(name: str, taken: Sequence[str]) -> str:
    """Find a name for an added column that the input has not."""
    if name not in taken:
        return name
    again = _PREFIX + name
    names = (again if number == 1 else f"{again}_{number}" for number in count(1))
    return next(free for free in names if free not in taken)


def check_texts(values: list[Any], name: str, first_row: int = 0) -> list[Any]:
    """Refuse a column that holds no texts.

    Args:
        values: of the column; `None` is an empty text.
        name: of the column.
        first_row: number of the first row.

    Returns:
        Texts, or lists of words where the column holds such.

    Raises:
        ValueError: a value is something else; its row is named.
    """
    for row, value in enumerate(values):
        if value is not None and not isinstance(value, str | list):
            raise ValueError(
                f"column {name!r} holds no text in row {first_row + row:,}: {value!r}. "
                "Name the column of the texts: --text, in Python text=."
            )
    return ["" if value is None else value for value in values]


@contextlib.contextmanager
def _replacing(out: Path, source: Any, table: Table) -> Iterator[IO]:
    """Let a block write a file that takes its place once it is whole."""
    out = out.expanduser()
    if out.is_dir():
        raise ValueError(f"{out} is a folder; name a file in it to write.")
    if not out.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {out.parent}; create it first.")
    is_stream = str(source) == STANDARD
    if not is_stream and out.exists() and out.samefile(source):
        raise ValueError(f"{out} is the input, which is never changed; name another.")
    suffix = table.suffix or format_suffix(Path(source))
    allowed = [suffix] if suffix else ["", *DELIMITED_SUFFIXES]
    if out.suffix.lower() not in allowed:
        name = "standard input" if is_stream else Path(source).name
        plain = out.with_suffix("") if out.suffix in COMPRESSIONS else out
        raise ValueError(
            f"predictions of {name} are written as {suffix or 'text'}; name the file "
            f"{plain.with_suffix(suffix).name!r} instead of {out.name!r}."
        )
    with RunFolder(out.parent).replacing(out.name) as temporary:
        if isinstance(table, Parquet):
            with temporary.open("wb") as file:
                yield file
        else:
            with temporary.open("w", encoding="utf-8", newline="") as file:
                yield file


# === In memory ===


def _predict_memory(
    predictor: _Predictor, source: Any, names: Sequence[str], out: Any
) -> "pd.DataFrame":
    import pandas as pd

    if out is not None:
        raise ValueError(
            "out= is for files; predictions of what is in memory are returned."
        )
    if isinstance(source, list | tuple):
        frame = _frame_texts(list(source), names)
    elif isinstance(source, pd.DataFrame):
        frame = source.copy()
    else:
        reading = Reading(text=names[0], label=None)
        frame = read_table(find_parts(source)["train"], reading).to_pandas()
    for name in names:
        if name not in frame.columns:
            raise ValueError(
                f"the data have no column {name!r}; they have "
                f"{', '.join(map(str, frame.columns))}. Name it: text=."
            )
        _require_one(name, frame.columns.tolist(), "the data have")
    values = [frame[name].astype(object) for name in names]
    columns = [
        check_texts(column.where(column.notna(), None).tolist(), name)
        for name, column in zip(names, values, strict=True)
    ]
    if not len(frame):
        raise ValueError("there are no texts to predict; pass at least one.")
    added = predictor.predict(columns, list(frame.columns))
    more = pd.DataFrame(added, index=frame.index)
    return pd.concat([frame, more], axis=1)


def _frame_texts(texts: list, names: Sequence[str]) -> "pd.DataFrame":
    import pandas as pd

    if len(names) == 1:
        return pd.DataFrame({names[0]: pd.Series(texts, dtype=object)})
    for row, pair in enumerate(texts):
        if not isinstance(pair, tuple | list) or len(pair) != len(names):
            raise ValueError(
                f"the model takes pairs of texts; row {row} is {str(pair)[:40]!r}."
            )
    return pd.DataFrame(texts, columns=list(names))


def _to_frame(table: Table, chunks: Iterator[tuple[Any, Added]]) -> "pd.DataFrame":
    import pandas as pd

    parts = []
    for chunk, added in chunks:
        columns = {name: table.column(chunk, name) for name in table.names}
        both = {**columns, **added}
        series = {name: _to_series(values) for name, values in both.items()}
        parts.append(pd.DataFrame(series))
    return pd.concat(parts, ignore_index=True)


def _to_series(values: Sequence[Any]) -> "pd.Series":
    import pandas as pd

    try:
        return pd.Series(values)
    except UnicodeEncodeError:  # pandas' own strings take no lone surrogates
        return pd.Series(values, dtype=object)
