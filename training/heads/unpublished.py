"""Stores of unpublished classifiers: complete stores below a report folder, which no server reads by default."""

from __future__ import annotations

from models.artifacts.atomic_write import exclusive_lock, write_atomically
from models.artifacts.store import MANIFEST_FILE, Store
from models.manifests import ExtractorManifest


def add_extractor(manifest: ExtractorManifest, source: Store, target: Store) -> None:
    """Copy an extractor to another store, under its version if that is free, unless the store has it.

    Raises:
        ModelsError: the source does not have it, or a file of it was changed.
    """
    same_name = [artifact.manifest for artifact in target.extractors() if artifact.manifest.name == manifest.name]
    if any(_identity(other) == _identity(manifest) for other in same_name):
        return
    artifact = source.extractor(manifest.name, manifest.version)
    files = {name: artifact.read(name) for name in artifact.manifest.files}
    if manifest.version in {other.version for other in same_name}:
        target.add(
            ExtractorManifest,
            manifest.name,
            lambda version: (artifact.manifest.model_copy(update={"version": version}), files),
        )
        return
    folder = target.root / artifact.folder.relative_to(source.root)
    with exclusive_lock(folder.parent):
        write_atomically(folder, {**files, MANIFEST_FILE: (artifact.folder / MANIFEST_FILE).read_bytes()})


def _identity(manifest: ExtractorManifest) -> tuple[str, int, frozenset[str]]:
    """Return what a classifier needs of an extractor: weights, input size and outputs."""
    return manifest.weights_sha256, manifest.input_size, frozenset(manifest.outputs)
