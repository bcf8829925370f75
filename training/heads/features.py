"""Images -> features, streamed through the serving path and cached on disk.

A cache belongs to one engine (by the digest of the files that it reads), output and preprocess spec, and holds
one row for each image by the digest of its bytes; so a row is never used for anything else. Rows are appended as
they come: after a kill, the next run goes on behind the last whole row. A second run on the same cache waits for the
first, since rows and index have to grow in the same order.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from threading import BoundedSemaphore
from types import TracebackType
from typing import NamedTuple

import numpy as np

from models.classifier import Extractor
from models.console.progress import ignore
from models.cpu import available_cores
from models.engines.base import Engine
from models.heads import Floats
from models.manifests import engine_files
from models.mirroring import run_with_mirroring
from models.offline.loader import prepared
from models.preprocess import PreprocessSpec
from training.data.dataset import Split, Stored
from training.data.loader import all_readable
from training.runtime.thread_map import stream_map

#: Images that one run of the network takes; a thread has the network for itself for so long.
BATCH = 32
_DIGEST_BYTES = 32


class FeatureCache:
    """Rows of float32 features by the digest of their image, in two files that only grow."""

    def __init__(self, folder: Path, width: int) -> None:
        """Open or begin a cache; half a row that a killed run left is cut off."""
        folder.mkdir(parents=True, exist_ok=True)
        self._width = width
        self._index_file = (folder / "index.sha256").open("a+b")
        self._rows_file = (folder / "rows.float32").open("a+b")
        fcntl.flock(self._index_file, fcntl.LOCK_EX)
        self._index_file.seek(0, os.SEEK_END)
        self._rows_file.seek(0, os.SEEK_END)
        rows = min(self._index_file.tell() // _DIGEST_BYTES, self._rows_file.tell() // (4 * width))
        self._index_file.truncate(rows * _DIGEST_BYTES)
        self._rows_file.truncate(rows * 4 * width)
        self._index_file.seek(0)
        keys = self._index_file.read()
        self._rows = {keys[i * _DIGEST_BYTES : (i + 1) * _DIGEST_BYTES].hex(): i for i in range(rows)}

    def __enter__(self) -> FeatureCache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._index_file.close()
        self._rows_file.close()

    def __contains__(self, digest: str) -> bool:
        return digest in self._rows

    def append(self, digests: Iterable[str], features: Floats) -> None:
        """Add rows, features first: an index entry without its row cannot come to be."""
        digests = list(digests)
        self._rows_file.write(np.ascontiguousarray(features, dtype=np.float32).tobytes())
        self._rows_file.flush()
        self._index_file.write(b"".join(bytes.fromhex(digest) for digest in digests))
        self._index_file.flush()
        for digest in digests:
            self._rows[digest] = len(self._rows)

    def read(self, digests: Iterable[str]) -> Floats:
        """The rows of these images, float32 [images, width]."""
        indices = [self._rows[digest] for digest in digests]
        if not indices:
            return np.empty((0, self._width), np.float32)
        rows = np.memmap(self._rows_file.name, np.float32, "r", shape=(len(self._rows), self._width))
        return np.array(rows[indices])


def extract(
    split: Split,
    extractor: Extractor,
    output: str,
    spec: PreprocessSpec,
    cache: Path,
    advance: Callable[[int], None] = ignore,
) -> Floats:
    """Features of all images of a split, in their order.

    Args:
        split: the images.
        extractor: the network as saved and loaded again.
        output: which of its outputs.
        spec: the preprocessing before it.
        cache: folder of all feature caches.
        advance: is told of images done, for a progress bar; cached ones at once.

    Returns:
        float32 [images, width].

    Raises:
        DatasetError: images cannot be read; lists them.
    """
    with _opened(extractor, output, spec, cache) as rows:
        _fill(rows, split, extractor, output, spec, advance)
        return rows.read(split.digests)


def fill(
    split: Split,
    extractor: Extractor,
    output: str,
    spec: PreprocessSpec,
    cache: Path,
    advance: Callable[[int], None] = ignore,
) -> None:
    """The same into the cache alone: memory does not grow with the images."""
    with _opened(extractor, output, spec, cache) as rows:
        _fill(rows, split, extractor, output, spec, advance)


def _opened(extractor: Extractor, output: str, spec: PreprocessSpec, cache: Path) -> FeatureCache:
    return FeatureCache(cache / _key(extractor, output, spec), extractor.manifest.outputs[output])


def _fill(
    rows: FeatureCache,
    split: Split,
    extractor: Extractor,
    output: str,
    spec: PreprocessSpec,
    advance: Callable[[int], None],
) -> None:
    missing: dict[str, list[Stored]] = {}
    for digest, image in zip(split.digests, split.paths, strict=True):
        if digest not in rows:
            missing.setdefault(digest, []).append(image)
    advance(len(split) - len(missing))
    first = {digest: images[0] for digest, images in missing.items()}
    copies = {digest: images[1:] for digest, images in missing.items() if images[1:]}
    with all_readable(first, copies) as failed:
        for part in _parts(first, extractor.engine, output, spec):
            rows.append(part.digests, part.features)
            for digest, why in part.broken:
                failed(digest, why)
            advance(len(part.digests))


class _Part(NamedTuple):
    """Some images that one thread has gone through."""

    digests: list[str]
    features: Floats
    broken: list[tuple[str, str]]
    """Digests of those that cannot be read, and why."""


def _parts(images: Mapping[str, Stored], engine: Engine, output: str, spec: PreprocessSpec) -> Iterator[_Part]:
    """The features of images in their order.

    A thread decodes a batch of its own and then runs the network on it, so that nothing is handed from thread to
    thread: there is one for each core, and another that decodes while all of these are in the network.
    """
    turn = BoundedSemaphore(engine.max_concurrent_runs)

    def part(some: Sequence[tuple[str, Stored]]) -> _Part:
        broken: list[tuple[str, str]] = []
        found = dict(prepared(some, spec, lambda digest, why: broken.append((digest, why))))
        if not found:
            return _Part([], np.empty((0, 0), np.float32), broken)
        pixels = np.stack(list(found.values()))
        mirrored = np.arange(len(pixels) if spec.mirror else 0)
        with turn:
            return _Part(list(found), run_with_mirroring(engine.concurrent, pixels, mirrored)[output], broken)

    todo = iter(images.items())
    batches = iter(lambda: tuple(islice(todo, BATCH)), ())
    return stream_map(part, batches, available_cores() + (1 if engine.shares_cores else engine.max_concurrent_runs))


def _key(extractor: Extractor, output: str, spec: PreprocessSpec) -> str:
    name, files = extractor.engine.name, extractor.manifest.files
    parts = (*(files[file] for file in engine_files(name)), name, output, spec.model_dump_json())
    return "features/" + hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]
