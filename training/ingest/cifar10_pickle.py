"""Safe reader of the pickled batches in the official CIFAR-10 archive.

Reading a pickle can run arbitrary code. This unpickler accepts only numpy's names for an array and calls none of them:
it records the arguments that numpy would get, which is enough to find the pixels. So numpy's own unpickling, which
trusts the sizes and types in the pickle, is not used either.
"""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.arrays import Integers, Pixels
from training.errors import DatasetError

SIDE = 32  # px

_ALLOWED_NAMES = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),  # written by numpy 2
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
}


@dataclass(frozen=True)
class CifarBatch:
    """Images, uint8 [n, 32, 32, 3], and their class indices, int64 [n]."""

    pixels: Pixels
    labels: Integers

    def __len__(self) -> int:
        return len(self.labels)


def read_batch(content: bytes) -> CifarBatch:
    """Read the content of one of `data_batch_1` to `data_batch_5` or `test_batch`.

    Raises:
        DatasetError: the content is unsafe, damaged, or of another format.
    """
    entries = _read_entries(content)
    try:
        labels = np.array(entries["labels"], dtype=np.int64)
        planes = _array(entries["data"]).reshape(*labels.shape, 3, SIDE, SIDE)
        return CifarBatch(planes.transpose(0, 2, 3, 1), labels)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise _damaged() from error


def read_names(content: bytes) -> tuple[str, ...]:
    """Read the names of the classes from the content of `batches.meta`.

    Raises:
        DatasetError: the content is unsafe, damaged, or of another format.
    """
    try:
        return tuple(_text(name) for name in _read_entries(content)["label_names"])
    except (AttributeError, KeyError, TypeError, UnicodeError) as error:
        raise _damaged() from error


class _RecordedCall:
    """A call in a pickle, with its arguments and the state that it would set; nothing is executed."""

    state: Any = None

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _RecordingUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type[_RecordedCall]:
        if (module, name) not in _ALLOWED_NAMES:
            raise DatasetError(
                f"A CIFAR-10 batch would load {module}.{name}, which the official batches do not. "
                "Do not trust its source."
            )
        return _RecordedCall


def _read_entries(content: bytes) -> dict[str, Any]:
    try:
        entries = _RecordingUnpickler(io.BytesIO(content), encoding="bytes").load()
        return {_text(key): value for key, value in entries.items()}
    except DatasetError:
        raise
    except Exception as error:  # a damaged pickle can raise nearly any exception
        raise _damaged() from error


def _array(recorded: _RecordedCall) -> Pixels:
    """Return the array that numpy would have made from its state: (version, shape, dtype, is Fortran order, bytes)."""
    _, shape, dtype, is_fortran, raw = recorded.state
    if _text(dtype.arguments[0]) != "u1":
        raise TypeError("pixels have to be uint8")
    return np.frombuffer(raw, np.uint8).reshape(shape, order="F" if is_fortran else "C")


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("utf-8")


def _damaged() -> DatasetError:
    return DatasetError("A CIFAR-10 batch is damaged or has another format. Download the official archive again.")
