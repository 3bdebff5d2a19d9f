"""Temperature scaling: probabilities that mean what they say."""

from typing import TYPE_CHECKING, Any

import numpy as np

from kbert.evaluation.calibration import expected_calibration_error
from kbert.evaluation.inputs import check_flags, check_pair
from kbert.evaluation.scores import log_loss

if TYPE_CHECKING:
    from kbert.data import Split
    from kbert.models import Model

# Temperatures that are looked at: below and above, the model knows next to nothing.
_LOWEST, _HIGHEST = 0.05, 20.0
_NUM_HALVINGS = 50
# A float32 probability has no logit beyond these.
_SMALLEST = {"softmax": 1e-38, "sigmoid": 1e-7}


def fit_temperature(
    labels: Any, probabilities: Any = None, *, logits: Any = None
) -> float:
    """Find the temperature whose probabilities fit labels best.

    Args:
        labels: int array-like, shape (n,), class ids; or 0/1, shape (n, num_labels),
            of independent labels.
        probabilities: float array-like, shape (n, num_classes) or (n, num_labels).
        logits: the same rows before softmax or sigmoid, in place of probabilities.

    Returns:
        What to divide logits by for the least log loss: above 1 where the model is too
        sure of itself. In [0.05, 20]; 1 where every row is right, since the loss then
        falls for ever as probabilities go to 0 and 1.

    Raises:
        ValueError: the arrays are not as they should be, or not one of `probabilities`
            and `logits` is given.

    Source: Guo et al. (2017), On Calibration of Modern Neural Networks.
    """
    if (probabilities is None) == (logits is None):
        raise ValueError("pass probabilities or logits, one of them.")
    if logits is not None:
        logits = _check_logits(logits)
        probabilities = _squash(logits, np.ndim(labels) == 2)
    labels, probabilities = check_rows(labels, probabilities)
    if logits is None:
        logits = to_logits(probabilities, labels.ndim == 2)
    if _all_right(labels, probabilities):
        return 1.0
    low, high = np.log(1 / _HIGHEST), np.log(1 / _LOWEST)
    for _ in range(_NUM_HALVINGS):  # the loss is convex in 1 / temperature
        middle = (low + high) / 2
        if _slope(labels, logits, np.exp(middle)) > 0:
            high = middle
        else:
            low = middle
    return float(np.exp(-(low + high) / 2))


def scale_probabilities(
    probabilities: Any, temperature: float, *, independent: bool = False
) -> np.ndarray:
    """Divide the logits behind probabilities by a temperature.

    Args:
        probabilities: float array-like, shape (n, num_classes).
        temperature: above 0.
        independent: whether each column is a label of its own (sigmoid), and rows need
            not sum to 1.

    Returns:
        float64 (n, num_classes).

    Raises:
        ValueError: the temperature is not above 0.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0; received {temperature}.")
    logits = to_logits(np.asarray(probabilities, np.float64), independent)
    return _squash(logits / temperature, independent)


def calibrate(model: "Model", split: "Split") -> dict[str, Any]:
    """Fit a temperature on labelled rows, and build it into a model.

    The kernel and the bias of the last layer are divided by it, so that everything
    made of the model from then on gives calibrated probabilities without knowing of
    it. Which class is the most probable does not change. Do it after training, on rows
    the model was not trained on.

    Args:
        model: a classifier whose last layer is a `Dense` with softmax or sigmoid;
            changed, its `metadata["temperature"]` included.
        split: labelled rows, such as `splits.validation`.

    Returns:
        `temperature`, `num_examples`, and `before` and `after`, each with
        `expected_calibration_error` and `log_loss` on these rows.

    Raises:
        ValueError: the model's last layer is another, or the rows have no labels.
    """
    find_last_dense(model)
    if split.labels is None:
        raise ValueError("calibration needs labelled rows; these have no labels.")
    labels, before = check_rows(split.labels, model.predict(split))
    temperature = fit_temperature(labels, before)
    fold_temperature(model, temperature)
    after = scale_probabilities(before, temperature, independent=labels.ndim == 2)
    return {
        "temperature": temperature,
        "num_examples": len(labels),
        "before": measure_calibration(labels, before),
        "after": measure_calibration(labels, after),
    }


def fold_temperature(model: "Model", temperature: float) -> None:
    """Divide a model's logits by a temperature, in the weights of its last layer.

    Args:
        model: as for `calibrate`.
        temperature: above 0; multiplied with what was folded in before, it becomes
            `model.metadata["temperature"]`.

    Raises:
        ValueError: the model's last layer is no `Dense` with softmax or sigmoid.
    """
    layer = find_last_dense(model)
    for variable in (layer.kernel, layer.bias):
        if variable is not None:
            variable.assign(variable / temperature)
    before = model.metadata.get("temperature", 1.0)
    model.metadata["temperature"] = before * temperature


def find_last_dense(model: "Model") -> Any:
    """Return the layer that makes a model's logits.

    Args:
        model: any.

    Returns:
        The `Dense` layer.

    Raises:
        ValueError: the last layer is another, or its kernel is not plain.
    """
    import keras

    layers = [output._keras_history.operation for output in model.outputs]
    layer = _skip_pooling(layers[0])
    name = getattr(getattr(layer, "activation", None), "__name__", "no activation")
    known = ("softmax", "sigmoid") if layer is layers[0] else ("linear",)
    is_dense = type(layer) is keras.layers.Dense and name in known
    if len(layers) != 1 or not is_dense:
        raise ValueError(
            "a temperature can be built into a model that ends in one Dense layer with "
            f"softmax or sigmoid; this one ends in {type(layer).__name__} with {name}."
        )
    if layer.lora_enabled or layer.quantization_mode:
        raise ValueError(
            "a temperature cannot be built into a layer with LoRA or quantised "
            "weights; calibrate first."
        )
    return layer


def _skip_pooling(layer: Any) -> Any:
    """Return the layer before the pooling of windows, whose mean and maximum scale."""
    import keras

    from kbert.engine.windows import WindowPooling

    if type(layer) not in (keras.layers.Softmax, keras.layers.Activation):
        return layer
    pooling = layer.input._keras_history.operation
    if type(pooling) is not WindowPooling:
        return layer
    return pooling.input[0]._keras_history.operation


def measure_calibration(labels: Any, probabilities: Any) -> dict[str, float]:
    """Measure how far probabilities can be taken at their word.

    Args:
        labels: int array-like, shape (n,), class ids; or 0/1, shape (n, num_labels).
        probabilities: float array-like, shape (n, num_classes) or (n, num_labels).

    Returns:
        `expected_calibration_error` and `log_loss`; of independent labels over all
        decisions.

    Raises:
        ValueError: the arrays are not as they should be.
    """
    labels, probabilities = as_decisions(*check_rows(labels, probabilities))
    return {
        "expected_calibration_error": expected_calibration_error(labels, probabilities),
        "log_loss": log_loss(labels, probabilities),
    }


def check_rows(labels: Any, probabilities: Any) -> tuple[np.ndarray, np.ndarray]:
    """Check classes, or independent labels, and their probabilities.

    Args:
        labels: int array-like, shape (n,), class ids; or 0/1, shape (n, num_labels).
        probabilities: float array-like, shape (n, num_classes) or (n, num_labels).

    Returns:
        int64 labels and float64 probabilities of the same shapes.

    Raises:
        ValueError: the arrays are not as they should be.
    """
    check = check_flags if np.ndim(labels) == 2 else check_pair
    return check(labels, probabilities)


def as_decisions(
    labels: np.ndarray, probabilities: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Take independent labels for as many rows of two classes; leave classes alone.

    Args:
        labels: int64 (n,) or (n, num_labels), checked.
        probabilities: float64 (n, num_classes) or (n, num_labels), checked.

    Returns:
        int64 (m,) and float64 (m, num_classes), m being n or n * num_labels.
    """
    if labels.ndim == 1:
        return labels, probabilities
    yes = probabilities.ravel()
    return labels.ravel(), np.stack([1 - yes, yes], axis=1)


def to_logits(probabilities: np.ndarray, independent: bool) -> np.ndarray:
    """Return logits that make these probabilities.

    Args:
        probabilities: float64 (n, num_classes).
        independent: whether each column is a label of its own.

    Returns:
        float64 (n, num_classes), finite.
    """
    if not independent:
        return np.log(np.maximum(probabilities, _SMALLEST["softmax"]))
    least = _SMALLEST["sigmoid"]
    inside = np.clip(probabilities, least, 1 - least)
    return np.log(inside) - np.log1p(-inside)


def _check_logits(logits: Any) -> np.ndarray:
    found = np.asarray(logits, np.float64)
    if found.ndim != 2 or not np.isfinite(found).all():
        raise ValueError(
            "logits must be finite numbers of shape (n, num_classes); received shape "
            f"{found.shape}."
        )
    return found


def _squash(logits: np.ndarray, independent: bool) -> np.ndarray:
    if independent:
        return 0.5 * (1 + np.tanh(logits / 2))
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _all_right(labels: np.ndarray, probabilities: np.ndarray) -> bool:
    if labels.ndim == 2:
        return bool(((probabilities >= 0.5) == labels).all())
    return bool((probabilities.argmax(axis=1) == labels).all())


def _slope(labels: np.ndarray, logits: np.ndarray, inverse: float) -> float:
    """Differentiate the mean log loss by the inverse temperature."""
    probabilities = _squash(inverse * logits, labels.ndim == 2)
    if labels.ndim == 2:
        return float(((probabilities - labels) * logits).mean())
    chosen = logits[np.arange(len(labels)), labels]
    return float(((probabilities * logits).sum(axis=1) - chosen).mean())
