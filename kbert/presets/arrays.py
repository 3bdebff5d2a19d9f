"""Arrays as they lie in safetensors and HDF5 files, read one at a time as float32.

Both formats hold numbers only, so reading them runs no code of the file's author. A
pickle (`.bin`, `.pt`) does not have that property and is never opened.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from kbert.presets.errors import PresetError

_SAFETENSORS_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_LARGEST_HEADER_BYTES = 100_000_000  # the limit of the format's own reader


@dataclass(frozen=True)
class StoredArray:
    """One array of a file.

    Args:
        file: where it lies.
        name: what it is called there.
        shape: as `read` returns it.
        is_float: whether it holds floating-point numbers; nothing else can be read.
        read_raw: reads it from the file.
    """

    file: Path
    name: str
    shape: tuple[int, ...]
    is_float: bool
    read_raw: Callable[[], np.ndarray]

    def read(self) -> np.ndarray:
        """Return the array as contiguous float32.

        Raises:
            PresetError: the file is gone or damaged.
        """
        try:
            array = self.read_raw()
        except (OSError, KeyError, ValueError) as error:
            if isinstance(error, PresetError):
                raise
            raise PresetError(
                f"{self.file} could not be read at weight {self.name!r} "
                f"({error}); copy or download the file again."
            ) from error
        return np.ascontiguousarray(array, np.float32).reshape(self.shape)

    def map(
        self, shape: tuple[int, ...], convert: Callable[[np.ndarray], np.ndarray]
    ) -> "StoredArray":
        """Return the array as `convert` will make it, with the shape it will have."""
        read = partial(_read_converted, self, convert)
        return StoredArray(self.file, self.name, shape, self.is_float, read)


def _read_converted(
    array: StoredArray, convert: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    return convert(array.read())


def list_safetensors(file: Path) -> dict[str, StoredArray]:
    """List the arrays of a safetensors file; only its header is read.

    Args:
        file: path of an existing file.

    Returns:
        Arrays by name.

    Raises:
        PresetError: the file is shorter than its header says, or has no valid header.
    """
    header, start = _read_safetensors_header(file)
    data_bytes = file.stat().st_size - start
    try:
        return {
            name: _describe_tensor(file, name, entry, start, data_bytes)
            for name, entry in header.items()
            if name != "__metadata__"
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _damaged(file, f"its header is not valid: {error}") from error


def _read_safetensors_header(file: Path) -> tuple[dict[str, Any], int]:
    """Return the header and the position of the first number after it."""
    with file.open("rb") as stream:
        num_bytes = int.from_bytes(stream.read(8), "little")
        size = file.stat().st_size
        if num_bytes > min(size - 8, _LARGEST_HEADER_BYTES):
            raise _damaged(file, f"{size} bytes cannot hold its header")
        try:
            header = json.loads(stream.read(num_bytes))
        except (ValueError, RecursionError) as error:
            raise _damaged(file, "its header is not JSON") from error
    if not isinstance(header, dict):
        raise _damaged(file, "its header is not a table")
    return header, 8 + num_bytes


def _describe_tensor(
    file: Path, name: str, entry: dict[str, Any], start: int, data_bytes: int
) -> StoredArray:
    shape = tuple(int(size) for size in entry["shape"])
    first, last = (int(offset) for offset in entry["data_offsets"])
    if not 0 <= first <= last <= data_bytes:
        raise ValueError(
            f"weight {name!r} ends at byte {last} of {data_bytes}, so a part is missing"
        )
    dtype = _SAFETENSORS_DTYPES.get(entry["dtype"])
    if dtype is None:  # kept in the list: position ids and the like are not read
        return StoredArray(file, name, shape, False, partial(_refuse_dtype, name))
    num_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    if min(shape, default=1) < 0 or num_bytes != last - first:
        raise ValueError(f"weight {name!r} of shape {shape} has {last - first} bytes")
    read = partial(_read_tensor, file, dtype, start + first, shape)
    return StoredArray(file, name, shape, True, read)


def _refuse_dtype(name: str) -> np.ndarray:
    raise ValueError(f"{name} holds no floating-point numbers")


def _read_tensor(
    file: Path, dtype: str, offset: int, shape: tuple[int, ...]
) -> np.ndarray:
    array = np.fromfile(file, dtype, math.prod(shape), offset=offset)
    if dtype == "<u2":
        array = _widen_bfloat16(array)
    return array.reshape(shape)


def _widen_bfloat16(bits: np.ndarray) -> np.ndarray:
    """Return float32 from bfloat16 bits, which are the upper half of a float32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def _damaged(file: Path, reason: str) -> PresetError:
    return PresetError(
        f"{file} is damaged ({reason}); copy or download the file again."
    )


def list_hdf5(file: Path) -> dict[str, StoredArray]:
    """List the arrays of one of Keras's weight files.

    Links, and datasets whose numbers lie in another file, are left out: a weight file
    must not be able to name files of the machine it is opened on.

    Args:
        file: path of an existing file.

    Returns:
        Arrays by their name in the file.

    Raises:
        PresetError: the file is truncated or no HDF5 file.
    """
    import h5py

    arrays: dict[str, StoredArray] = {}

    def add(name: str, item: Any) -> None:
        if not isinstance(item, h5py.Dataset) or item.external or item.is_virtual:
            return
        is_float = item.dtype.kind == "f" or _holds_bfloat16(item)
        read = partial(_read_dataset, file, name)
        arrays[name] = StoredArray(file, name, tuple(item.shape), is_float, read)

    try:
        with h5py.File(file, "r") as store:
            store.visititems(add)
    except (OSError, RuntimeError, KeyError) as error:
        raise _damaged(file, "it is truncated or not an HDF5 file") from error
    return arrays


def _holds_bfloat16(dataset: Any) -> bool:
    return dataset.dtype.kind == "V" and dataset.dtype.itemsize == 2


def _read_dataset(file: Path, name: str) -> np.ndarray:
    import h5py

    with h5py.File(file, "r") as store:
        dataset = store[name]
        array = dataset[()]
        return (
            _widen_bfloat16(array.view(np.uint16))
            if _holds_bfloat16(dataset)
            else array
        )
