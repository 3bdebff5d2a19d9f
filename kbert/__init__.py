"""Fine-tune BERT encoders with Keras 3 on PyTorch.

Public names are loaded on first use, so `import kbert` is quick and imports neither
Keras nor torch. It does choose Keras's torch backend, so import it before Keras or
set `KERAS_BACKEND=torch`.
"""

import importlib.abc
import importlib.util
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kbert import (
        augmentation,
        callbacks,
        data,
        engine,
        evaluation,
        models,
        presets,
        report,
        tasks,
        text,
        training,
    )
    from kbert.data import Split, Splits, load_split, load_splits
    from kbert.explaining import explain
    from kbert.exporting.export import export
    from kbert.inspection import inspect
    from kbert.models import Model, build_classifier, load_backbone, load_model
    from kbert.presets import PresetError, list_presets, load_preset
    from kbert.runs import (
        TrainedRun,
        evaluate,
        load_run,
        predict,
        train,
        write_report,
    )
    from kbert.text import Preprocessor
    from kbert.training import adamw, freeze, set_seed, unfreeze

__version__ = "0.1.0"

__all__ = [
    "Model",
    "Preprocessor",
    "PresetError",
    "Split",
    "Splits",
    "TrainedRun",
    "__version__",
    "adamw",
    "augmentation",
    "build_classifier",
    "callbacks",
    "data",
    "engine",
    "evaluate",
    "evaluation",
    "export",
    "explain",
    "freeze",
    "inspect",
    "list_presets",
    "load_backbone",
    "load_model",
    "load_preset",
    "load_run",
    "load_split",
    "load_splits",
    "models",
    "predict",
    "presets",
    "report",
    "set_seed",
    "tasks",
    "text",
    "train",
    "training",
    "unfreeze",
    "write_report",
]

_MODULE_OF = {
    "Model": "models",
    "Preprocessor": "text",
    "PresetError": "presets",
    "Split": "data",
    "Splits": "data",
    "TrainedRun": "runs",
    "adamw": "training",
    "build_classifier": "models",
    "evaluate": "runs",
    "export": "exporting",
    "explain": "explaining",
    "freeze": "training",
    "inspect": "inspection",
    "list_presets": "presets",
    "load_backbone": "models",
    "load_model": "models",
    "load_preset": "presets",
    "load_run": "runs",
    "load_split": "data",
    "load_splits": "data",
    "predict": "runs",
    "set_seed": "training",
    "train": "runs",
    "unfreeze": "training",
    "write_report": "runs",
}


def _choose_torch_backend() -> None:
    """Make Keras use torch, or say in one sentence why it cannot."""
    config = getattr(sys.modules.get("keras"), "config", None)
    if config is not None and config.backend() != "torch":
        raise RuntimeError(
            f"kbert needs the torch backend; Keras loaded {config.backend()!r}. "
            "Import kbert before keras, or set KERAS_BACKEND=torch."
        )
    chosen = os.environ.get("KERAS_BACKEND") or "torch"
    if config is None and chosen != "torch":
        raise RuntimeError(
            f"kbert needs the torch backend; KERAS_BACKEND is {chosen!r}. "
            "Unset it, or set KERAS_BACKEND=torch."
        )
    os.environ["KERAS_BACKEND"] = "torch"


def __getattr__(name: str) -> Any:
    """Import the module that holds a public name on its first use."""
    if name not in __all__:
        raise AttributeError(f"module 'kbert' has no attribute {name!r}")
    module = importlib.import_module(f"kbert.{_MODULE_OF.get(name, name)}")
    value = getattr(module, name) if name in _MODULE_OF else module
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *__all__})


class _KerasWatch(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Registers kbert's layers once Keras is imported, so that it can load them.

    It stands in for Keras's own loader for the one import, then leaves.
    """

    _loader: Any = None

    def find_spec(self, fullname, path=None, target=None):
        """Find Keras, to be loaded by this."""
        if fullname != "keras":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec("keras")
        if spec is not None:
            self._loader, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec):
        """Create the module as its own loader does."""
        return self._loader.create_module(spec)

    def exec_module(self, module):
        """Run the module, then register what kbert's files hold."""
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        _register_layers()


def _register_layers() -> None:
    """Import what is registered with Keras, unless that is being done."""
    own = [one for name, one in [*sys.modules.items()] if name.startswith("kbert.")]
    specs = [getattr(one, "__spec__", None) for one in own]
    if not any(getattr(spec, "_initializing", False) for spec in specs):
        importlib.import_module("kbert.models")


_choose_torch_backend()
if sys.modules.get("keras") is not None:
    _register_layers()
else:
    sys.meta_path.insert(0, _KerasWatch())
