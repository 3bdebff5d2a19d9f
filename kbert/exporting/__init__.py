"""Trained models for other libraries: transformers, ONNX, safetensors, KerasHub."""

from kbert.exporting.export import Format, export

__all__ = ["Format", "export"]
