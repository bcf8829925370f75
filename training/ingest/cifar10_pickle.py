"""The pickled batches of the official CIFAR-10 archive, read without running what is in them.

A pickle can run any code when it is read. These are read by an unpickler that knows three names and runs none of
them: it records how numpy would have been called, which is all that is needed to find the pixels. So numpy's own
unpickling, which trusts the sizes and types that a pickle states, is not reached either.
"""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.arrays import Pixels
from models.heads import Integers
from training.errors import DatasetError

SIDE = 32  # px

_RECORDED = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),  # the same, as numpy 2 writes it
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
}


@dataclass(frozen=True)
class Batch:
    """Images uint8 [n, 32, 32, 3] and their class indices [n]."""

    pixels: Pixels
    labels: Integers

    def __len__(self) -> int:
        return len(self.labels)


def read_batch(content: bytes) -> Batch:
    """Read `data_batch_1` to `data_batch_5` or `test_batch`.

    Raises:
        DatasetError: it is unsafe, damaged, or of another form.
    """
    entries = _read(content)
    try:
        labels = np.array(entries["labels"], dtype=np.int64)
        planes = _array(entries["data"]).reshape(*labels.shape, 3, SIDE, SIDE)
        return Batch(planes.transpose(0, 2, 3, 1), labels)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise _damaged() from error


def read_names(content: bytes) -> tuple[str, ...]:
    """Read the names of the classes from `batches.meta`; raises DatasetError."""
    try:
        return tuple(_text(name) for name in _read(content)["label_names"])
    except (AttributeError, KeyError, TypeError, UnicodeError) as error:
        raise _damaged() from error


class _Recorded:
    """A call that a pickle wanted, and the state it wanted to set."""

    state: Any = None

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _RecordingUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type[_Recorded]:
        if (module, name) not in _RECORDED:
            raise DatasetError(
                f"A CIFAR-10 batch wants to load {module}.{name}, which the official ones do not. "
                "Do not trust its source."
            )
        return _Recorded


def _read(content: bytes) -> dict[str, Any]:
    try:
        entries = _RecordingUnpickler(io.BytesIO(content), encoding="bytes").load()
        return {_text(key): value for key, value in entries.items()}
    except DatasetError:
        raise
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise _damaged() from error


def _array(recorded: _Recorded) -> Pixels:
    """The array that numpy would have made; its state is (version, shape, dtype, in Fortran's order, bytes)."""
    _, shape, dtype, fortran, raw = recorded.state
    if _text(dtype.arguments[0]) != "u1":
        raise TypeError("pixels have to be uint8")
    return np.frombuffer(raw, np.uint8).reshape(shape, order="F" if fortran else "C")


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("utf-8")


def _damaged() -> DatasetError:
    return DatasetError("A CIFAR-10 batch is damaged or of another form. Fetch the official archive again.")
