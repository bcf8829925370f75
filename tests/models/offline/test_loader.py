"""Batches of images from disk, and values computed one ahead."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from models.offline.loader import load_batches, prefetch
from models.preprocess import PreprocessSpec, preprocess
from tests.support.images import encode, noise

SPEC = PreprocessSpec(size=96)


def fail(key: object, reason: str) -> None:
    raise AssertionError(f"{key} could not be read: {reason}")


def test_batches_keep_the_order_and_report_broken_images(tmp_path: Path) -> None:
    paths = {}
    for index in range(150):
        paths[index] = tmp_path / f"{index}.png"
        paths[index].write_bytes(encode(noise(8, 8, seed=index), "PNG") if index % 50 else b"broken")
    paths[150] = tmp_path / "missing.png"
    broken: dict[int, str] = {}
    batches = list(load_batches(paths, SPEC, broken.__setitem__))
    assert [len(keys) for keys, _ in batches] == [64, 64, 19]
    assert [key for keys, _ in batches for key in keys] == [index for index in range(150) if index % 50]
    assert sorted(broken) == [0, 50, 100, 150]
    assert "not an image" in broken[0]
    assert broken[150] == "No such file or directory"
    for keys, pixels in batches:
        for key, row in zip(keys, pixels, strict=True):
            assert np.array_equal(row, preprocess(noise(8, 8, seed=key), SPEC))


def test_closing_a_stream_early_stops_it(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encode(noise(8, 8), "PNG"))
    batches = load_batches(dict.fromkeys(range(1000), path), SPEC, fail)
    next(iter(batches))
    batches.close()  # type: ignore[attr-defined]  # a generator


def test_prefetch_computes_the_next_value_in_the_background() -> None:
    is_computed = threading.Event()

    def values() -> Iterator[int]:
        yield 1
        is_computed.set()
        yield 2

    prefetched = prefetch(values())
    assert next(prefetched) == 1
    assert is_computed.wait(10), "nothing was computed while the caller worked"
    assert list(prefetched) == [2]


def test_prefetch_raises_errors_in_order() -> None:
    def values() -> Iterator[int]:
        yield 1
        raise ZeroDivisionError

    prefetched = prefetch(values())
    assert next(prefetched) == 1
    with pytest.raises(ZeroDivisionError):
        next(prefetched)
