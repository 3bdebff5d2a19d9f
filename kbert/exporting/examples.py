"""How each format is used: a few lines that work in the exported folder."""

import json

from kbert.exporting.head import Head
from kbert.models import Model

_TRANSFORMERS_OF_ANSWERS = """\
```python
import torch
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(".")
model = AutoModelForQuestionAnswering.from_pretrained(".").eval()
inputs = tokenizer("a question?", "a text that answers it", return_tensors="pt")
with torch.no_grad():
    outputs = model(**inputs)
first, last = int(outputs.start_logits.argmax()), int(outputs.end_logits.argmax())
print(repr(tokenizer.decode(inputs["input_ids"][0, first : last + 1])))
```"""

_TRANSFORMERS = """\
```python
from transformers import pipeline

predict = pipeline("{pipeline}", model=".")
print(predict({inputs}))
```"""

_ONNX = """\
```python
import json, numpy as np, onnxruntime
from tokenizers import Tokenizer

names = json.load(open("config.json"))["id2label"]
tokenizer = Tokenizer.from_file("tokenizer.json")
tokenizer.enable_padding(pad_id={pad_id}, pad_token={pad_token})
tokenizer.enable_truncation({max_length})
rows = tokenizer.encode_batch(["a first text", "and a second, longer one"])
inputs = {{
    "input_ids": np.array([row.ids for row in rows]),
    "attention_mask": np.array([row.attention_mask for row in rows]),{segments}
}}
session = onnxruntime.InferenceSession("model.onnx")
{show}
```"""

_SHOW = {
    "labels": """for row in session.run(["probabilities"], inputs)[0]:
    print(names[str(row.argmax())], row.max())""",
    "logits": """print(session.run(None, inputs))""",
}

_SAFETENSORS = """\
```python
from safetensors.numpy import load_file

weights = load_file("model.safetensors")  # KerasHub's names, float32
print(weights["head/kernel"].shape)
```"""

_KERAS = """\
```python
import kbert

model = kbert.load_model("model.keras")  # its text handling included
print(model.predict(["a text"]))
```

`backbone/` is the encoder alone, as a KerasHub preset:

```python
import keras_hub

backbone = keras_hub.models.Backbone.from_preset("backbone")
```"""


def write_example(format: str, model: Model, head: Head | None) -> str:
    """Write a few lines of Python that use an exported folder from inside it.

    Args:
        format: of the folder.
        model: that was exported.
        head: of it; `None` where only Keras knows it.

    Returns:
        A Markdown code block, or several.
    """
    if format == "keras" or head is None:
        return _KERAS
    if format == "safetensors":
        return _SAFETENSORS
    if format == "huggingface":
        if head.task == "answer":
            return _TRANSFORMERS_OF_ANSWERS
        if head.task == "tag":
            return _TRANSFORMERS.format(
                pipeline="token-classification", inputs='"a text with words to label"'
            )
        every = ", top_k=None" if model.task == "multilabel" else ""  # each label's
        return _TRANSFORMERS.format(
            pipeline="text-classification",
            inputs=f'["a text"], truncation=True{every}',
        )
    return _write_onnx_example(model, head)


def _write_onnx_example(model: Model, head: Head) -> str:
    assert model.preprocessor is not None
    tokenizer = model.preprocessor.tokenizer
    has_segments = "segment_ids" in model.preprocessor.input_names
    line = '\n    "token_type_ids": np.array([row.type_ids for row in rows]),'
    labelled = head.task == "classify" and head.last.activation == "softmax"
    return _ONNX.format(
        pad_id=tokenizer.pad_id,
        pad_token=json.dumps(tokenizer.id_to_token(tokenizer.pad_id)),
        max_length=model.preprocessor.max_length,
        segments=line if has_segments else "",
        show=_SHOW["labels" if labelled else "logits"],
    )
