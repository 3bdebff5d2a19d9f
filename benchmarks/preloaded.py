"""What a process of a side imports, once for all of them; see `children`.

Nothing here computes anything, so that each process starts its own threads.
"""

import importlib.util
import os

from benchmarks.machine import leave_out_tensorflow

os.environ.setdefault("KERAS_BACKEND", "torch")
leave_out_tensorflow()

import keras  # noqa: E402, F401
import torch  # noqa: E402, F401

import kbert  # noqa: E402
from benchmarks import keras_sides  # noqa: E402, F401

kbert.build_classifier, kbert.adamw  # noqa: B018  # loaded on first use
if importlib.util.find_spec("transformers") is not None:
    from transformers import (  # noqa: F401
        BertForSequenceClassification,
        Trainer,
        TrainingArguments,
    )
