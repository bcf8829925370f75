"""Arrays in .npz archives, within limits."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.artifacts.npz import read_npz


def archive(*, compression: int = zipfile.ZIP_DEFLATED, **members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as target:
        for name, content in members.items():
            target.writestr(f"{name}.npy", content)
    return buffer.getvalue()


def npy(header: str, body: bytes = b"") -> bytes:
    """Return an array with any header, of the format's version 1."""
    padded = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded + body


def header(dtype: str = "'<f4'", shape: str = "(2,)", fortran: str = "False") -> str:
    return f"{{'descr': {dtype}, 'fortran_order': {fortran}, 'shape': {shape}}}"


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_of_numbers_are_read_as_numpy_reads_them(save: Any) -> None:
    arrays: dict[str, Any] = {
        "a": np.arange(6, dtype=">i2").reshape(2, 3),
        "b": np.asfortranarray(np.ones((3, 2), np.float16)),
        "c": np.zeros((0, 5)),
        "d": np.array(True),
        "e": np.arange(4, dtype=np.uint8),
    }
    buffer = io.BytesIO()
    save(buffer, **arrays)
    read = read_npz(buffer.getvalue())
    assert list(read) == list(arrays)
    for name, array in arrays.items():
        assert (read[name].dtype, read[name].shape) == (array.dtype, array.shape)
        assert np.array_equal(read[name], array)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x" * 200,
        npy(header()),
        npy(header(), b"1" * 7),
        npy(header(), b"1" * 9),
        npy(header(shape="(1 << 60,)")),
        npy(header(shape="(1000000000000000,)"), b"1" * 8),
        npy(header(shape="(-1, -2)"), b"1" * 8),
        npy(header(shape="(4611686018427387904, 4)"), b""),
        npy(header(shape="[2]"), b"1" * 8),
        npy(header("'|O'"), b"1" * 16),
        npy(header("'<U2'"), b"1" * 16),
        npy(header("'|V4'"), b"1" * 8),
        npy(header("[('a', '<f4')]"), b"1" * 8),
        npy(header("'<M8[s]'"), b"1" * 16),
        npy("(" * 5000),
        npy("{}"),
        b"\x93NUMPY\x09\x00" + npy(header(), b"1" * 8)[8:],
    ],
)
def test_other_arrays_are_rejected(content: bytes) -> None:
    assert read_npz(archive(a=npy(header(), b"\0" * 8)))["a"].tolist() == [0, 0]
    with pytest.raises(ValueError, match=r"."):
        read_npz(archive(a=content))


def test_archive_that_expands_to_much_is_rejected_early() -> None:
    bomb = archive(a=npy(header("'|u1'", "(300000000,)"), bytes(300_000_000)))
    assert len(bomb) < 1_000_000
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="too large"):
            read_npz(bomb)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_archive_that_understates_its_sizes_is_rejected_early() -> None:
    content = bytes(50_000_000)
    data = archive(a=content).replace(len(content).to_bytes(4, "little"), (100).to_bytes(4, "little"))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"damaged|another size"):
            read_npz(data)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_number_of_arrays_is_limited_to_1000() -> None:
    arrays = dict.fromkeys(map(str, range(1000)), npy(header(), b"\0" * 8))
    assert len(read_npz(archive(compression=zipfile.ZIP_STORED, **arrays))) == 1000
    with pytest.raises(ValueError, match="too large"):
        read_npz(archive(compression=zipfile.ZIP_STORED, **arrays, more=npy(header(), b"\0" * 8)))


@pytest.mark.parametrize(("size", "message"), [(256_000_000, "EOF"), (256_000_001, "too large")])
def test_unpacked_bytes_of_all_arrays_are_limited(size: int, message: str) -> None:
    """The second array declares the rest of them, but its packed bytes are damaged."""
    first = npy(header(), b"\0" * 8)
    data = archive(compression=zipfile.ZIP_STORED, a=first, b=b"damaged")
    start = data.rindex(b"PK\x01\x02") + 24
    declared = data[:start] + (size - len(first)).to_bytes(4, "little") + data[start + 4 :]
    with pytest.raises(ValueError, match=message):
        read_npz(declared)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@settings(max_examples=300, deadline=None)
@given(st.data())
def test_changed_bytes_are_rejected_or_give_arrays(data: st.DataObject) -> None:
    changed = bytearray(archive(compression=zipfile.ZIP_STORED, a=npy(header(), b"\0" * 8)))
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    try:
        arrays = read_npz(bytes(changed))
    except ValueError:
        return
    assert all(array.dtype.kind in "biuf" for array in arrays.values())
