"""A trained model as files that other libraries load."""

import logging
import os
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

from kbert.exporting.card import read_report, write_card
from kbert.exporting.comparison import describe_change, find_examples
from kbert.exporting.examples import write_example
from kbert.exporting.folder import CARD, check_free, write_whole
from kbert.exporting.head import Head, read_parts
from kbert.exporting.hugging_face import (
    describe_rewriting,
    name_labels,
    write_hugging_face,
)
from kbert.exporting.keras_folder import write_keras, write_safetensors
from kbert.exporting.keras_hub import describe_difference
from kbert.exporting.onnx_folder import check_onnx, write_onnx
from kbert.models import Model, load_model

Format = Literal["huggingface", "onnx", "safetensors", "keras"]

_logger = logging.getLogger("kbert")


def export(
    model: Model | str | os.PathLike,
    format: Format,
    out: str | os.PathLike,
    *,
    int8: bool = False,
    examples: Any = None,
    overwrite: bool = False,
) -> Path:
    """Write a trained model for other libraries, with its tokenizer and a model card.

    - `huggingface`: for transformers' `AutoModelFor...` and `pipeline`, and back with
      `kbert.load_model`.
    - `onnx`: `model.onnx`, which onnxruntime runs on raw ids.
    - `safetensors`: all weights under KerasHub's names.
    - `keras`: `model.keras` without the optimizer, and a KerasHub preset of the
      encoder.

    Args:
        model: a model, a `.keras` file, or a run folder with `model.keras` in it, whose
            `report.json` the card then shows.
        format: one of the four.
        out: folder to write, whole or not at all.
        int8: round the products of `onnx` to 8 bits, and say what that changes.
        examples: texts, pairs, a split or (texts, labels) to measure that on; for
            tags and answers a list of what the model predicts, or labelled rows that
            its task reads, such as a file. `None` takes the held-out rows of the run
            folder.
        overwrite: replace a folder that an earlier export wrote, and nothing else.

    Returns:
        The folder.

    Raises:
        FileNotFoundError: there is no such model.
        FileExistsError: `out` holds something, and `overwrite` is false or it is no
            earlier export.
        ValueError: the model or an argument does not fit the format.
        RuntimeError: a library that the format needs is not installed.
        OSError: the folder cannot be written; nothing is left of it.
    """
    write_export(model, format, out, int8=int8, examples=examples, overwrite=overwrite)
    return Path(out)


def write_export(
    model: Model | str | os.PathLike,
    format: Format,
    out: str | os.PathLike,
    *,
    int8: bool,
    examples: Any,
    overwrite: bool,
) -> list[str]:
    """Write a trained model; log and return what its reader must know.

    Args:
        model: see `export`, as for the others.
        format: one of the four.
        out: folder to write.
        int8: round to 8 bits.
        examples: to measure that on.
        overwrite: replace an earlier export.

    Returns:
        A sentence each, which the card shows too; what 8 bits change is the last.
    """
    out = Path(out)
    _check_arguments(format, int8, examples)
    check_free(out, overwrite)
    run = None if isinstance(model, Model) else Path(model)
    model = model if isinstance(model, Model) else load_model(model, compile=False)
    _check_model(model, format)
    if run is not None and int8 and examples is None:
        examples = find_examples(run, model.task)
    write: Any = {
        "huggingface": write_hugging_face,
        "onnx": partial(write_onnx, int8=int8),
        "safetensors": write_safetensors,
        "keras": write_keras,
    }[format]
    with write_whole(out, overwrite) as folder:
        write(folder, model)
        notes = _describe(model, format)
        if int8:
            notes.append(describe_change(folder, model, examples))
        card = _write_card(model, format, run, out, notes)
        (folder / CARD).write_text(card, encoding="utf-8")
    for note in notes:
        _logger.warning("%s", note)
    return notes


def _check_arguments(format: str, int8: bool, examples: Any) -> None:
    if format not in get_args(Format):
        raise ValueError(
            f"format must be one of {', '.join(get_args(Format))}; received {format!r}."
        )
    if int8 and format != "onnx":
        raise ValueError(
            f"int8 is for the format onnx; received {format!r}. Leave int8 out."
        )
    if examples is not None and not int8:
        raise ValueError("examples show what int8 changes; pass int8=True with them.")
    if format == "onnx":
        check_onnx(int8)


def _check_model(model: Model, format: str) -> None:
    _ = model.backbone  # says so if there is none, or several
    if format == "keras":
        return
    if model.preprocessor is None:
        raise ValueError(
            "the model has no preprocessor, so it has no tokenizer to export. Build it "
            "with kbert.build_classifier, or export it to keras."
        )
    if model.preprocessor.long_text == "windows":
        raise ValueError(
            "the model reads long texts in windows, which only kbert pools. Export it "
            "to keras (--format keras), or train it with long_text='truncate' or "
            "'head-tail' (--long-text)."
        )


def _read_head(model: Model, format: str) -> Head | None:
    return None if format == "keras" else read_parts(model).head


def _describe(model: Model, format: str) -> list[str]:
    """List what a reader must know, a sentence each."""
    if format == "keras":
        notes = [describe_difference(model), _describe_threshold(model)]
        return list(filter(None, notes))
    notes = [_describe_threshold(model)]
    head = _read_head(model, format)
    if format == "huggingface" and head is not None:
        notes.append(describe_rewriting(head))
    assert model.preprocessor is not None
    clean = model.preprocessor.get_config()["clean"]
    if clean:
        steps = clean if isinstance(clean, str) else ", ".join(map(str, clean))
        notes.append(
            f"The model was trained on cleaned texts ({steps}), and this folder's "
            "tokenizer does not clean: clean them first, with kbert.text.clean_text."
        )
    long_text = model.preprocessor.long_text
    if long_text != "truncate":
        notes.append(
            f"Texts longer than {model.preprocessor.max_length} tokens were read by "
            f"{long_text} in kbert; other libraries cut them off."
        )
    precision = str(model.backbone.compute_precision).removeprefix("torch.")
    if precision != "float32":
        notes.append(
            f"kbert computes this model in {precision} here, other libraries in "
            "float32: their probabilities differ by rounding."
        )
    thresholds = model.metadata.get("thresholds")
    if thresholds and model.task != "classify":
        names: Any = model.label_names or ()
        if len(names) != len(thresholds):
            names = range(len(thresholds))
        pairs = zip(names, thresholds, strict=True)
        shown = ", ".join(f"{name} {threshold:.6g}" for name, threshold in pairs)
        notes.append(
            f"Thresholds were chosen for this model ({shown}; in config.json, under "
            "kbert); other libraries decide without them."
        )
    return list(filter(None, notes))


def _describe_threshold(model: Model) -> str | None:
    """Say from which probability a model of two classes decides."""
    threshold = model.metadata.get("threshold")
    if threshold is None:
        return None
    name = (model.label_names or ("0", "1"))[1]
    return (
        f"kbert predict and kbert evaluate call a text {name!r} from a probability of "
        f"{threshold:.6g} upwards, which was chosen for this model; other libraries "
        "take the likelier label. To decide as kbert does, call it so where its "
        f"probability, row[1] of the row's probabilities, is >= {threshold:.6g}."
    )


def _write_card(
    model: Model, format: str, run: Path | None, out: Path, notes: list[str]
) -> str:
    head = _read_head(model, format)
    names = list(model.label_names or ())
    if head is not None and head.task not in ("answer", "regress"):
        names = name_labels(model, len(head.last.bias))
    report = read_report(run) if run is not None and run.is_dir() else {}
    example = write_example(format, model, head)
    return write_card(out.name, format, head, names, report, example, notes)
