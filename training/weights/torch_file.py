"""Reads tensors from a file that PyTorch before 1.6 wrote, without PyTorch and without running anything of it.

Such a file is five pickles (a magic number, the version of the format, the sizes of C's types, the value that was saved
and the keys of its storages), and then each storage: the number of its elements and the elements. In the pickle of
the value, a persistent id stands for each storage.

Source: `_legacy_save` in PyTorch's `torch/serialization.py`.
"""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.errors import UnsafePickle, WeightsError
from models.heads.pickle_reader import Call, Name, PickleReader

TorchTensors = dict[str, npt.NDArray[Any]]

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_VERSION = 1001
_MAX_BYTES = 256_000_000  # of a file; EfficientNet-Lite2 has 25 MB
_MAX_AXES = 8

_ORDERED_DICT = Name("collections", "OrderedDict")
_REBUILD_TENSOR = Name("torch._utils", "_rebuild_tensor_v2")
_DTYPES: dict[Name, np.dtype[Any]] = {
    Name("torch", "FloatStorage"): np.dtype("<f4"),
    Name("torch", "LongStorage"): np.dtype("<i8"),
}
_NAMES = frozenset({_ORDERED_DICT, _REBUILD_TENSOR, *_DTYPES})
_COUNT = struct.Struct("<q")


def read_torch_file(data: bytes) -> TorchTensors:
    """Read a dict of tensors, such as a `state_dict`.

    Only tensors are accepted that consist of a whole storage of their own, with the axes in any order.

    Args:
        data: contents of the file.

    Returns:
        Name -> float32 or int64 of the tensor's shape; read-only views of `data`.

    Raises:
        WeightsError: the file has another format, is damaged, or its pickles contain anything else.
    """
    try:
        if len(data) > _MAX_BYTES:
            raise _Invalid(f"it has more than {_MAX_BYTES:,} bytes")
        return _read(data)
    except (UnsafePickle, _Invalid) as error:
        raise WeightsError(
            f"The weights are not a readable file of tensors of PyTorch's format before 1.6: {error}"
        ) from error


class _Invalid(Exception):
    """The pickles are readable, but do not describe tensors."""


@dataclass(frozen=True, slots=True, eq=False)
class _PersistentId:
    """What a pickle gives as a persistent id, unchecked."""

    value: object


@dataclass(frozen=True, slots=True)
class _View:
    """A tensor and the storage that it consists of."""

    key: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


class _TorchReader(PickleReader):
    """Reads PyTorch's pickles (protocol 2): `OrderedDict()` is read as a dict, whose attributes are ignored."""

    def _run(self, opcode: str, argument: Any) -> None:
        match opcode:
            case "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = self._stack[-1]
            case "BINPERSID":
                self._stack.append(_PersistentId(*self._pop(1)))
            case "REDUCE":
                function, arguments = self._pop(2)
                is_dict = function == _ORDERED_DICT and arguments == ()
                self._stack.append({} if is_dict else Call(function, arguments))
            case _:
                super()._run(opcode, argument)

    def _build(self, state: object) -> None:
        if not isinstance(self._stack[-1], dict):
            super()._build(state)


def _read(data: bytes) -> TorchTensors:
    file = io.BytesIO(data)
    reader = _TorchReader(_NAMES, "a pickle in it")
    magic_number, version, system, value, keys = (reader.read(file) for _ in range(5))
    _require(magic_number == _MAGIC_NUMBER and version == _VERSION, "its magic number or version is another")
    _require(isinstance(system, dict) and system.get("little_endian") is True, "its numbers are not little-endian")
    _require(isinstance(value, dict), "it does not contain a dict")
    assert isinstance(value, dict)
    views = {name: _view(tensor) for name, tensor in value.items()}
    storages = _read_storages(data, file.tell(), keys, {view.key: view for view in views.values()})
    _require(len(storages) == len(views), "two tensors share a storage")
    return {name: _tensor(view, storages[view.key]) for name, view in views.items()}


def _view(tensor: object) -> _View:
    """Check the arguments of `_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, backward_hooks)`."""
    match tensor:
        case Call(
            function=Name() as function,
            arguments=(_PersistentId() as storage, 0, tuple() as shape, tuple() as strides, bool(), dict() as hooks),
            state=None,
        ) if function == _REBUILD_TENSOR and not hooks:
            key, dtype, elements = _storage(storage.value)
            _require(len(shape) == len(strides) <= _MAX_AXES, "a tensor has other strides than axes")
            _require(all(type(number) is int for number in (*shape, *strides)), "a tensor's shape is not of integers")
            _require(all(0 < size <= elements for size in shape), "a tensor is empty, or larger than its storage")
            view = _View(key, dtype, shape, strides)
            _require(view.elements == elements, "a tensor is not the whole of its storage")
            return view
    raise _Invalid("it contains something other than tensors")


def _storage(identifier: object) -> tuple[str, np.dtype[Any], int]:
    """Check a persistent id and return the key of the storage, its dtype and the number of its elements."""
    match identifier:
        case ("storage", Name() as kind, str(key), str(), int(elements), None) if kind in _DTYPES:
            return key, _DTYPES[kind], elements
    raise _Invalid("a persistent id is not that of a storage")


def _read_storages(data: bytes, start: int, keys: object, views: Mapping[str, _View]) -> dict[str, npt.NDArray[Any]]:
    """Read the storages from a position to the end of the file."""
    _require(isinstance(keys, list) and all(isinstance(key, str) for key in keys), "its storages have no keys")
    assert isinstance(keys, list)
    _require(len(set(keys)) == len(keys) and set(keys) == set(views), "its storages are not those of its tensors")
    storages = {}
    for key in keys:
        view = views[key]
        end = start + _COUNT.size + view.elements * view.dtype.itemsize
        _require(end <= len(data), "a storage is incomplete")
        _require(_COUNT.unpack_from(data, start) == (view.elements,), "a storage has another size than its tensor")
        storages[key] = np.frombuffer(data, view.dtype, view.elements, start + _COUNT.size)
        start = end
    _require(start == len(data), "bytes follow its storages")
    return storages


def _tensor(view: _View, storage: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a storage as a tensor: its axes are sorted by stride in the storage."""
    order = _by_stride(view.shape, view.strides)
    return storage.reshape([view.shape[axis] for axis in order]).transpose(np.argsort(order))


def _by_stride(shape: Sequence[int], strides: Sequence[int]) -> list[int]:
    """Return the axes from the largest stride to the smallest; no two elements may be at one place."""
    order = sorted(range(len(shape)), key=lambda axis: -strides[axis])
    expected = 1
    for axis in reversed(order):
        _require(shape[axis] == 1 or strides[axis] == expected, "the elements of a tensor overlap, or have gaps")
        expected *= shape[axis]
    return order


def _require(holds: bool, problem: str) -> None:
    if not holds:
        raise _Invalid(f"{problem}.")
