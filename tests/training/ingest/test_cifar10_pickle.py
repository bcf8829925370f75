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

HOSTILE = {
    "os.system": pickle.dumps(Exploit(os.system, f"touch {MARK}"), 2),
    "builtins.eval": pickle.dumps(Exploit(eval, f"open({MARK!r}, 'w').close()"), 4),
    "__builtin__ of Python 2": b"\x80\x02c__builtin__\neval\n(U\x011tR.",
    "in the data": pickle.dumps({"data": Exploit(os.system, f"touch {MARK}"), "labels": [0]}, 5),
    "getattr on an allowed name": b"cbuiltins\ngetattr\n(cnumpy\nndarray\nU\x05dumpstR.",
    "numpy beyond the three names": b"cnumpy\nload\n(U\x01xtR.",
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
