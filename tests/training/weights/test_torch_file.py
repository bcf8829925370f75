"""Files that PyTorch before 1.6 wrote: read without PyTorch, and without running anything of hostile ones."""

from __future__ import annotations

import builtins
import io
import os
import pickle
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from models.errors import WeightsError
from tests.support.torch_files import SYSTEM, Storage, Tensor, state_dict, tensor, torch_file
from training.weights.torch_file import read_torch_file

VALUES = np.arange(6, dtype=np.float32).reshape(2, 3)


def error_of(data: bytes) -> str:
    with pytest.raises(WeightsError) as error:
        read_torch_file(data)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(
        "The weights are not a readable file of tensors of PyTorch's format before 1.6: "
    )
    return str(error.value)


# --- files as PyTorch writes them


def test_tensors_are_read_with_their_names_shapes_and_types() -> None:
    expected: dict[str, np.ndarray] = {
        "a.weight": VALUES,
        "a.count": np.array(7, np.int64),
        "b": np.ones((4, 1, 3, 3), np.float32),
    }
    actual = read_torch_file(torch_file(state_dict(expected)))
    assert list(actual) == list(expected)
    for name, values in expected.items():
        assert (actual[name].dtype, actual[name].shape) == (values.dtype, values.shape)
        assert np.array_equal(actual[name], values)


@settings(deadline=None, max_examples=50)
@given(
    arrays.arrays(st.sampled_from([np.float32, np.int64]), arrays.array_shapes(min_dims=0, max_dims=5, max_side=4)),
    st.randoms(use_true_random=False),
)
def test_axes_may_be_in_any_order_in_memory(values: np.ndarray, random: Any) -> None:
    order = list(range(values.ndim))
    random.shuffle(order)
    actual = read_torch_file(torch_file({"tensor": tensor(values.transpose(order))}))["tensor"]
    assert np.array_equal(actual, values.transpose(order), equal_nan=values.dtype == np.float32)


def test_strides_of_axes_of_one_element_do_not_matter() -> None:
    stored = tensor(np.arange(3, dtype=np.float32).reshape(1, 3, 1))
    stored.strides = (999, 1, -5)
    assert read_torch_file(torch_file({"tensor": stored}))["tensor"].tolist() == [[[0], [1], [2]]]


def test_file_of_no_tensors_is_empty() -> None:
    assert read_torch_file(torch_file(OrderedDict())) == {}


# --- hostile pickles


class Reduces:
    """An object whose pickle calls a function when loaded."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call

    def __call__(self) -> None:
        """Be callable, as `pickle` requires of what it is to call; the result of the call is called instead."""


def calls(canary: Path) -> dict[str, Reduces]:
    """Return objects that would create the file `canary` if their calls ran."""
    touch, python = f"touch {canary}", f"__import__('os').mkdir({str(canary)!r})"
    return {
        "os.system": Reduces(os.system, touch),
        "subprocess.check_output": Reduces(subprocess.check_output, ["touch", str(canary)]),
        "builtins.eval": Reduces(builtins.eval, python),
        "builtins.exec": Reduces(builtins.exec, python),
        "os.mkdir": Reduces(os.mkdir, str(canary)),
        "getattr of a module": Reduces(Reduces(getattr, Reduces(builtins.__import__, "os"), "system"), touch),
        "numpy.ndarray.tofile": Reduces(np.ndarray.tofile, np.zeros(1), str(canary)),
        "numpy.save": Reduces(np.save, canary.with_suffix(""), np.zeros(1)),
        "pathlib.Path.touch": Reduces(Path.touch, canary),
        "pickle.loads": Reduces(pickle.loads, pickle.dumps(Reduces(os.system, touch))),
    }


PLACES: dict[str, Callable[[object], bytes]] = {
    "the magic number": lambda value: torch_file({}, magic_number=value),
    "the version": lambda value: torch_file({}, version=value),
    "the sizes of types": lambda value: torch_file({}, system=[value]),
    "the value": lambda value: torch_file(value),
    "a tensor": lambda value: torch_file(OrderedDict(weight=value)),
    "the shape": lambda value: torch_file({"weight": Tensor(Storage(b"", 0), [value], [1])}),
    "the hooks": lambda value: torch_file({"weight": Tensor(Storage(b"", 0), [0], [1], hooks=value)}),
    "a persistent id": lambda value: torch_file(
        {"weight": Tensor(Storage(b"", 0, identifier=lambda usual: (*usual[:2], value)), [0], [1])}
    ),
    "the keys": lambda value: torch_file({}, keys=lambda _: value),
}


@pytest.mark.parametrize("name", calls(Path("x")))
@pytest.mark.parametrize("place", PLACES)
def test_hostile_file_is_rejected_without_running_code(place: str, name: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary.npy"
    data = PLACES[place](calls(canary)[name])
    assert "which is not allowed. Do not trust its source." in error_of(data)
    assert not canary.exists(), "the pickle ran code"


@pytest.mark.parametrize("name", calls(Path("x")))
def test_hostile_calls_run_in_plain_pickle(name: str, tmp_path: Path) -> None:
    """The files are effective: the same pickle creates the file when `pickle` loads it."""
    canary = tmp_path / "canary.npy"
    data = PLACES["the value"](calls(canary)[name])
    assert not canary.exists()
    file = io.BytesIO(data)
    for _ in range(4):
        pickle.load(file)
    assert canary.exists(), "the hostile pickle does nothing"


@pytest.mark.parametrize(
    "name", ["collections\nOrderedDict", "torch._utils\n_rebuild_tensor_v2", "torch\nFloatStorage"]
)
@pytest.mark.parametrize("state", [b"}X\x01\x00\x00\x00xK\x01s", b"N}\x86"], ids=["attributes", "slots"])
def test_state_of_a_name_is_rejected(name: str, state: bytes) -> None:
    """Plain pickle would set an attribute of the class itself."""
    program = b"\x80\x02c" + name.encode() + b"\n" + state + b"b."
    assert "changes an object that is no estimator" in error_of(with_value(program))


def with_value(program: bytes) -> bytes:
    """Return a file whose fourth pickle is this one."""
    parts = [torch_file({})[: -len(pickle.dumps({}, 2)) - len(pickle.dumps([], 2))], program, pickle.dumps([], 2)]
    return b"".join(parts)


@pytest.mark.parametrize(
    "program",
    [
        b"",
        b".",
        b"\x80\x02.",
        b"\x80\x02Q.",
        b"\x80\x02q\x00.",
        b"\x80\x02r\xff\xff\xff\x7f.",
        b"\x80\x02}r\xff\xff\xff\x7fj\x00\x00\x00\x00.",
        b"\x80\x02X\xff\xff\xff\xffx.",
        b"\x80\x02\x8b\xff\xff\xff\x7f\x01.",
        b"\x80\x02R.",
        b"\x80\x02NR.",
        b"\x80\x02(NR.",
        b"Pstorage\n.",
        b"(ios\nsystem\n.",
        b"\x80\x02]q\x00h\x00a.",
    ],
    ids=repr,
)
def test_damaged_pickle_is_rejected(program: bytes) -> None:
    error_of(with_value(program))


def test_memo_at_a_huge_position_costs_no_memory() -> None:
    """C's unpickler would allocate 32 GB for it."""
    assert read_torch_file(with_value(b"\x80\x02}r\xff\xff\xff\x7f.")) == {}


# --- hostile tensors


def one(storage: Storage | None = None, **parts: Any) -> bytes:
    """Return a file of one tensor of 2 x 3 elements, or with other `parts`."""
    storage = storage or Storage(VALUES.tobytes(), 6)
    return torch_file({"weight": Tensor(storage, **{"shape": (2, 3), "strides": (3, 1), **parts})})


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        ({"shape": (3, 3)}, "not the whole of its storage"),
        ({"shape": (1, 3)}, "not the whole of its storage"),
        ({"shape": (2, 2)}, "not the whole of its storage"),
        ({"shape": (10**12, 10**12)}, "larger than its storage"),
        ({"shape": (2**62, 2**62), "strides": (0, 0)}, "larger than its storage"),
        ({"shape": (0, 3)}, "is empty"),
        ({"shape": (-2, -3)}, "is empty"),
        ({"shape": (2.0, 3)}, "not of integers"),
        ({"shape": (True, 6), "strides": (6, 1)}, "not of integers"),
        ({"shape": ("2", 3)}, "not of integers"),
        ({"shape": (6,)}, "other strides than axes"),
        ({"shape": (1,) * 8 + (6,), "strides": (1,) * 9}, "other strides than axes"),
        ({"strides": (0, 1)}, "overlap"),
        ({"strides": (1, 1)}, "overlap"),
        ({"strides": (-3, 1)}, "overlap"),
        ({"strides": (3, -1)}, "overlap"),
        ({"strides": (2, 1)}, "overlap"),
        ({"strides": (2**40, 1)}, "gaps"),
        ({"strides": (3, 2)}, "gaps"),
        ({"offset": 1}, "something other than tensors"),
        ({"offset": -1}, "something other than tensors"),
        ({"offset": "0"}, "something other than tensors"),
        ({"requires_grad": None}, "something other than tensors"),
        ({"hooks": None}, "something other than tensors"),
        ({"hooks": {"hook": 1}}, "something other than tensors"),
    ],
    ids=str,
)
def test_tensor_other_than_its_whole_storage_is_rejected(parts: dict[str, Any], problem: str) -> None:
    assert np.array_equal(read_torch_file(one())["weight"], VALUES), "the unchanged file is readable"
    assert problem in error_of(one(**parts))


@pytest.mark.parametrize(
    "identifier",
    [
        lambda usual: 0,
        lambda usual: usual[:-1],
        lambda usual: (*usual, None),
        lambda usual: ("module", *usual[1:]),
        lambda usual: ("storage", "FloatStorage", *usual[2:]),
        lambda usual: ("storage", OrderedDict, *usual[2:]),
        lambda usual: (*usual[:2], 5, *usual[3:]),
        lambda usual: (*usual[:3], None, *usual[4:]),
        lambda usual: (*usual[:4], "6", None),
        lambda usual: (*usual[:5], ("view", 0, 6)),
    ],
)
def test_other_persistent_id_is_rejected(identifier: Callable[[tuple[Any, ...]], object]) -> None:
    assert "not that of a storage" in error_of(one(Storage(VALUES.tobytes(), 6, identifier=identifier)))


def test_storage_of_another_type_is_rejected() -> None:
    message = error_of(one(Storage(bytes(48), 6, "DoubleStorage")))
    assert "torch.DoubleStorage, which is not allowed" in message


@pytest.mark.parametrize("elements", [0, -6, 5, 7, 10**15, 2**70])
def test_storage_of_another_declared_size_is_rejected(elements: int) -> None:
    storage = Storage(VALUES.tobytes(), 6, identifier=lambda usual: (*usual[:4], elements, None))
    error_of(one(storage))


@pytest.mark.parametrize("count", [0, -1, 5, 7, 2**62])
def test_storage_with_another_count_before_it_is_rejected(count: int) -> None:
    data = torch_file({"weight": tensor(VALUES)}, counts=lambda _: count)
    assert "another size than its tensor" in error_of(data)


def test_shared_storage_is_rejected() -> None:
    storage = Storage(VALUES.tobytes(), 6)
    both = {name: Tensor(storage, (2, 3), (3, 1)) for name in "ab"}
    assert "two tensors share a storage" in error_of(torch_file(both))


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        (lambda keys: [*keys, *keys], "not those of its tensors"),
        (lambda keys: [], "not those of its tensors"),
        (lambda keys: ["another"], "not those of its tensors"),
        (lambda keys: [[]], "have no keys"),
        (lambda keys: {"a": 1}, "have no keys"),
    ],
)
def test_other_keys_of_storages_are_rejected(keys: Callable[[list[str]], object], problem: str) -> None:
    assert problem in error_of(torch_file({"weight": tensor(VALUES)}, keys=keys))


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        ({"magic_number": 5}, "magic number or version"),
        ({"version": 1002}, "magic number or version"),
        ({"system": SYSTEM | {"little_endian": False}}, "not little-endian"),
        ({"system": []}, "not little-endian"),
    ],
)
def test_other_version_of_the_format_is_rejected(parts: dict[str, Any], problem: str) -> None:
    assert problem in error_of(torch_file({}, **parts))


@pytest.mark.parametrize("value", [None, [], 5, "weights", ({},)])
def test_value_other_than_a_dict_is_rejected(value: object) -> None:
    assert "does not contain a dict" in error_of(torch_file(value))


@pytest.mark.parametrize("value", [None, {}, [], 1.5, "weights", OrderedDict(inner=tensor(VALUES))])
def test_dict_of_something_other_than_tensors_is_rejected(value: object) -> None:
    assert "something other than tensors" in error_of(torch_file({"weight": value}))


def test_truncated_file_is_rejected_at_every_length() -> None:
    data = one()
    for length in range(len(data)):
        error_of(data[:length])


def test_bytes_after_the_last_storage_are_rejected() -> None:
    assert "bytes follow its storages" in error_of(one() + b"\0")


def test_file_of_another_format_is_rejected() -> None:
    for data in (b"", b"PK\x03\x04" + bytes(100), b"\x89HDF\r\n\x1a\n", b"text\n"):
        assert "Install it again." in error_of(data)


def test_too_large_file_is_rejected_before_it_is_read() -> None:
    assert "more than 256,000,000 bytes" in error_of(bytes(256_000_001))


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_changed_byte_never_raises_another_error(data: st.DataObject) -> None:
    file = bytearray(one())
    file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    try:
        (values,) = read_torch_file(bytes(file)).values()
    except WeightsError:
        return
    assert values.size == 6


def test_reading_imports_nothing_of_the_file() -> None:
    before = set(sys.modules)
    error_of(torch_file(Reduces(getattr, 1, "x")))
    read_torch_file(one())
    assert not {"torch", "torch._utils"} & (set(sys.modules) - before)
