"""Extracts features of images on the serving path, and caches them on disk.

A cache belongs to one engine (by the digests of the files that it reads), output and preprocess spec, and has one row
for each image, by the digest of its bytes. So a row is never used for anything else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from threading import BoundedSemaphore
from typing import NamedTuple

import numpy as np

from models.arrays import Floats
from models.classifier import Extractor
from models.console.progress import Advance, ignore
from models.cpu import available_cores
from models.engines.base import Engine
from models.manifests import engine_files
from models.mirroring import run_with_mirroring
from models.offline.loader import prepare_each
from models.preprocess import PreprocessSpec
from training.data.loader import raise_for_unreadable
from training.data.split import Split, StoredImage
from training.heads.feature_cache import FeatureCache
from training.runtime.thread_map import stream_map

#: Images per run of the network.
BATCH_SIZE = 32


def extract_features(
    split: Split, extractor: Extractor, output: str, spec: PreprocessSpec, cache: Path, advance: Advance = ignore
) -> Floats:
    """Return the features of all images of a split, in their order; only those that are not cached are computed.

    Args:
        split: the images.
        extractor: the extractor, loaded from the store.
        output: name of the extractor's output.
        spec: preprocessing of the images.
        cache: parent folder of all feature caches.
        advance: called with the number of images done since the last call, cached ones first.

    Returns:
        float32 [images, width].

    Raises:
        DatasetError: images cannot be read; the message lists them.
    """
    with _open_cache(extractor, output, spec, cache) as rows:
        _compute_missing(rows, split, extractor, output, spec, advance)
        return rows.read(split.digests)


def fill_cache(
    split: Split, extractor: Extractor, output: str, spec: PreprocessSpec, cache: Path, advance: Advance = ignore
) -> None:
    """Do the same as `extract_features`, but only cache the features, so that memory does not grow with the images."""
    with _open_cache(extractor, output, spec, cache) as rows:
        _compute_missing(rows, split, extractor, output, spec, advance)


def _open_cache(extractor: Extractor, output: str, spec: PreprocessSpec, cache: Path) -> FeatureCache:
    return FeatureCache(cache / _key(extractor, output, spec), extractor.manifest.outputs[output])


def _compute_missing(
    rows: FeatureCache, split: Split, extractor: Extractor, output: str, spec: PreprocessSpec, advance: Advance
) -> None:
    """Append the features of all images that the cache does not have yet; equal images are computed once."""
    missing: dict[str, list[StoredImage]] = {}
    for digest, image in zip(split.digests, split.images, strict=True):
        if digest not in rows:
            missing.setdefault(digest, []).append(image)
    advance(len(split) - len(missing))
    distinct = {digest: images[0] for digest, images in missing.items()}
    copies = {digest: images[1:] for digest, images in missing.items() if images[1:]}
    with raise_for_unreadable(distinct, copies) as on_failure:
        for batch in _run_batches(distinct, extractor.engine, output, spec):
            rows.append(batch.digests, batch.features)
            for digest, reason in batch.failures:
                on_failure(digest, reason)
            advance(len(batch.digests))


class _FeatureBatch(NamedTuple):
    """Digests and features of some images, and digest and reason of each one that cannot be read."""

    digests: list[str]
    features: Floats
    failures: list[tuple[str, str]]


def _run_batches(
    images: Mapping[str, StoredImage], engine: Engine, output: str, spec: PreprocessSpec
) -> Iterator[_FeatureBatch]:
    """Yield the features of images in their order.

    Each thread decodes a batch and then runs the network on it, so that no pixels pass between threads. There is one
    thread per core, and additional ones that decode while those are in the network.
    """
    engine_slots = BoundedSemaphore(engine.max_concurrent_runs)

    def run_batch(batch: Sequence[tuple[str, StoredImage]]) -> _FeatureBatch:
        failures: list[tuple[str, str]] = []
        prepared = dict(prepare_each(batch, spec, lambda digest, reason: failures.append((digest, reason))))
        if not prepared:
            return _FeatureBatch([], np.empty((0, 0), np.float32), failures)
        pixels = np.stack(list(prepared.values()))
        mirrored = np.arange(len(pixels) if spec.mirror else 0)
        with engine_slots:
            features = run_with_mirroring(engine.concurrent, pixels, mirrored)[output]
        return _FeatureBatch(list(prepared), features, failures)

    remaining = iter(images.items())
    batches = iter(lambda: tuple(islice(remaining, BATCH_SIZE)), ())
    decoding_threads = 1 if engine.shares_cores else engine.max_concurrent_runs
    return stream_map(run_batch, batches, available_cores() + decoding_threads)


def _key(extractor: Extractor, output: str, spec: PreprocessSpec) -> str:
    name, files = extractor.engine.name, extractor.manifest.files
    parts = (*(files[file] for file in engine_files(name)), name, output, spec.model_dump_json())
    return "features/" + hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]
