"""Pickled batches: official ones are read, hostile ones are rejected before any of their code runs."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from models.arrays import Pixels
from tests.support import official_cifar10 as official
from training.errors import DatasetError
from training.ingest.cifar10 import import_cifar10
from training.ingest.cifar10_pickle import read_batch, read_names

TRAIN, TEST = official.split(60, seed=1), official.split(20, seed=2)


class Exploit:
    """When unpickled, calls `call` with `arguments`."""

    def __init__(self, call: Callable[..., Any], *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call, self.arguments


MARK = "pickle-was-run"


def call_of_bytes(name: bytes, *arguments: bytes) -> bytes:
    """Return a pickle of protocol 2 that calls a name, given after its module and a line break, with texts."""
    texts = b"".join(b"X" + len(text).to_bytes(4, "little") + text for text in arguments)
    return b"\x80\x02c" + name + b"\n(" + texts + b"tR."


HOSTILE = {
    "os.system": pickle.dumps(Exploit(os.system, f"touch {MARK}"), 2),
    "builtins.eval": pickle.dumps(Exploit(eval, f"open({MARK!r}, 'w').close()"), 4),
    "__builtin__ of Python 2": call_of_bytes(b"__builtin__\neval", f"open({MARK!r}, 'w').close()".encode()),
    "in the data": pickle.dumps({"data": Exploit(os.system, f"touch {MARK}"), "labels": [0]}, 5),
    "getattr on an allowed name": b"cbuiltins\ngetattr\n(cnumpy\nndarray\nU\x05dumpstR.",
    "numpy beyond the three names": b"\x80\x02cnumpy\nsavetxt\n(X\x0e\0\0\0" + MARK.encode() + b"]tR.",
    "dotted name": b"\x80\x04\x8c\x05numpy\x8c\x10ndarray.__class__\x93.",
    "copyreg extension": b"\x80\x02\x82\x01.",
    "persistent id": b"Psomething\n.",
    "state for an allowed class": b"\x80\x02cnumpy\nndarray\n}(U\x05stateK\x01ub.",
    "array of objects": official.batch(*TEST).replace(b"U\x02u1", b"U\x02O8"),
    "array that claims to be larger": official.batch(*TEST).replace(b"\x00\x0c\x00\x00", b"\x00\x0c\x00\x10"),
    "not a dict": b"\x80\x02](K\x01e.",
    "empty": b"",
    "text": b"<html>",
    "truncated": official.batch(*TEST)[:-500],
}


EFFECTIVE = ("os.system", "builtins.eval", "__builtin__ of Python 2", "in the data", "numpy beyond the three names")


@pytest.mark.parametrize("name", EFFECTIVE)
def test_hostile_pickle_runs_code_without_the_allow_list(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pickle is effective: plain pickle runs its code."""
    monkeypatch.chdir(tmp_path)
    pickle.loads(HOSTILE[name])
    assert Path(MARK).exists(), f"the hostile pickle {name!r} does nothing"


ALLOWED = {
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "_reconstruct"),
}


@pytest.mark.parametrize("module", sorted({*(module for module, _ in ALLOWED), "builtins", "os", "numpy._core"}))
@pytest.mark.parametrize(
    "name", sorted({*(name for _, name in ALLOWED), "load", "scalar", "getattr", "system", "ndarray.tofile"})
)
def test_only_names_of_an_array_are_allowed(module: str, name: str) -> None:
    contents = {
        "GLOBAL": f"c{module}\n{name}\n.".encode(),
        "STACK_GLOBAL": b"\x80\x04" + b"".join(b"\x8c%c%b" % (len(t), t.encode()) for t in (module, name)) + b"\x93.",
    }
    expected = "damaged or has another format" if (module, name) in ALLOWED else "Do not trust its source"
    for content in contents.values():
        with pytest.raises(DatasetError, match=expected):
            read_batch(content)


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
class TestHostilePickle:
    def test_batch_is_rejected_and_no_code_runs(
        self, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(DatasetError, match=r"Do not trust its source|Download the official archive again"):
            read_batch(content)
        with pytest.raises(DatasetError):
            read_names(content)
        assert not Path(MARK).exists()

    def test_archive_is_rejected(self, content: bytes, tmp_path: Path) -> None:
        contents = official.files(TRAIN, TEST) | {"data_batch_5": content}
        with pytest.raises(DatasetError):
            import_cifar10(official.archive(tmp_path / "a.tar.gz", contents), tmp_path / "data")
        assert not list((tmp_path / "data").iterdir())


def test_hostile_pickles_do_not_affect_later_ones() -> None:
    for content in HOSTILE.values():
        with pytest.raises(DatasetError):
            read_batch(content)
    np.testing.assert_array_equal(read_batch(official.batch(*TEST)).pixels, TEST[0])


images = arrays.arrays(np.uint8, st.tuples(st.integers(0, 5), st.just(32), st.just(32), st.just(3)))


@settings(max_examples=30, deadline=None)
@given(pixels=images, fortran=st.booleans(), label=st.integers(0, 9))
def test_packed_batch_is_read_unchanged(pixels: Pixels, fortran: bool, label: int) -> None:
    labels = np.full(len(pixels), label)
    batch = read_batch(official.batch(pixels, labels, fortran=fortran))
    np.testing.assert_array_equal(batch.pixels, pixels)
    np.testing.assert_array_equal(batch.labels, labels)


@pytest.mark.parametrize("protocol", [3, 4])
def test_batches_written_by_python_3_are_read(protocol: int) -> None:
    rows = TEST[0].transpose(0, 3, 1, 2).reshape(-1, 3072).copy()
    batch = read_batch(pickle.dumps({b"data": rows, "labels": TEST[1].tolist()}, protocol))
    np.testing.assert_array_equal(batch.pixels, TEST[0])


def test_numpy_and_pickle_read_the_packed_batches() -> None:
    """Check that the batches of the test packer have the official format."""
    entries = pickle.loads(official.batch(*TEST).replace(b"K\x00K\x01tR", b"\x89\x88tR"), encoding="bytes")
    rows = TEST[0].transpose(0, 3, 1, 2).reshape(-1, 3072)
    np.testing.assert_array_equal(entries[b"data"], rows)
    assert entries[b"labels"] == TEST[1].tolist()
    assert pickle.loads(official.meta(), encoding="bytes")[b"label_names"][0] == b"airplane"
