"""The store: versioned artifacts on disk, written atomically and read only if every digest matches.

store/extractors/NAME/VERSION/     manifest.json  weights.safetensors  golden.npz  README.md
store/classifiers/NAME/VERSION/    manifest.json  head.pkl  golden.npz  holdout.npy  README.md
"""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic

from models.artifacts.atomic_write import exclusive_lock, write_atomically
from models.artifacts.regular_file import read_regular_file
from models.errors import ArtifactError, CorruptArtifact, ModelNotFound, ModelsError
from models.manifests import (
    MAX_MANIFEST_BYTES,
    WEIGHTS_FILE,
    ClassifierManifest,
    ExtractorManifest,
    ManifestT,
    max_file_bytes,
    parse,
    render,
    sha256,
)

DEFAULT_STORE = Path(__file__).parents[1] / "store"
MANIFEST_FILE = "manifest.json"

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_VERSION = re.compile(r"[0-9]{1,9}")
_FOLDERS: dict[type, str] = {ExtractorManifest: "extractors", ClassifierManifest: "classifiers"}

ArtifactVersions = frozenset[tuple[str, int]]
"""A set of (name, version)."""


@dataclass(frozen=True)
class Artifact(Generic[ManifestT]):
    """One version of an extractor or a classifier, in its folder."""

    folder: Path
    manifest: ManifestT

    @property
    def label(self) -> str:
        """`name@version`."""
        return f"{self.manifest.name}@{self.manifest.version}"

    def read(self, file: str) -> bytes:
        """Read a file and verify its digest.

        Raises:
            CorruptArtifact: the file is missing, changed, or not listed in the manifest.
        """
        expected = self.manifest.files.get(file)
        if expected is None:
            raise self._corrupt(f"its manifest does not list {file}")
        try:
            data = read_regular_file(self.folder / file, max_file_bytes(file))
        except OSError as error:
            raise self._corrupt(f"{file} is missing or cannot be read ({error.strerror})") from error
        if sha256(data) != expected:
            raise self._corrupt(f"{file} was changed (its SHA-256 differs from the manifest)")
        return data

    def verify(self) -> None:
        """Verify the digest of every file, and that the folder has no other files.

        Raises:
            CorruptArtifact: names the first invalid file.
        """
        for file in self.manifest.files:
            self.read(file)
        try:
            actual = {entry.name for entry in self.folder.iterdir()}
        except OSError as error:
            raise self._corrupt("its folder is missing or cannot be read") from error
        unexpected = actual - {MANIFEST_FILE, *self.manifest.files}
        if unexpected:
            raise self._corrupt(f"{min(unexpected)} is not listed in its manifest")

    def _corrupt(self, reason: str) -> CorruptArtifact:
        return CorruptArtifact(
            f"Cannot load {self.label} in {self.folder}: {reason}. Install this version again, or remove the folder."
        )


ExtractorArtifact = Artifact[ExtractorManifest]
ClassifierArtifact = Artifact[ClassifierManifest]


@dataclass(frozen=True)
class Store:
    """A folder of artifacts.

    Attributes:
        root: the folder.
        hidden: classifier versions to ignore, even if they are corrupt.
    """

    root: Path = DEFAULT_STORE
    hidden: ArtifactVersions = frozenset()

    def extractors(self) -> list[ExtractorArtifact]:
        """List all versions of all extractors by name, the newest first. Reads only manifests."""
        return self._list(ExtractorManifest)

    def classifiers(self) -> list[ClassifierArtifact]:
        """List all versions of all classifiers by name, the newest first. Reads only manifests."""
        return self._list(ClassifierManifest)

    def fingerprint(self) -> frozenset[tuple[str, int, int]]:
        """Return path, modification time and size of every file; equal while the store is unchanged."""
        versions = [self.root / kind / "*" / "*" for kind in _FOLDERS.values()]
        # Unlike Path.glob, glob.glob ignores folders that disappear during the scan.
        files = [Path(name) for version in versions for name in glob.glob(str(version / "*"))]  # noqa: PTH207
        return frozenset(_file_state(path) for path in files if _VERSION.fullmatch(path.parent.name))

    def extractor(self, name: str, version: int | None = None) -> ExtractorArtifact:
        """Return an extractor, by default its newest version; raises ModelNotFound."""
        return self._select(self.extractors(), "extractor", name, version)

    def classifier(self, name: str, version: int | None = None) -> ClassifierArtifact:
        """Return a classifier, by default its newest version; raises ModelNotFound."""
        return self._select(self.classifiers(), "classifier", name, version)

    def extractor_of(
        self, classifier: ClassifierArtifact, extractors: Sequence[ExtractorArtifact] | None = None
    ) -> ExtractorArtifact:
        """Return the extractor that a classifier needs: same name, weights, input size and output.

        Args:
            classifier: the classifier.
            extractors: of the store, if they have been listed already.

        Raises:
            ModelNotFound: the store does not have it.
        """
        reference, size = classifier.manifest.extractor, classifier.manifest.preprocess.size
        for artifact in self.extractors() if extractors is None else extractors:
            manifest = artifact.manifest
            same_weights = manifest.name == reference.name and manifest.weights_sha256 == reference.weights_sha256
            if same_weights and manifest.input_size == size and reference.output in manifest.outputs:
                return artifact
        raise ModelNotFound(
            f"{classifier.label} needs the extractor {reference.name} for {size} px with weights "
            f"{reference.weights_sha256[:12]}… and output {reference.output}, "
            f"which is not in {self.root}. Install that extractor, or remove the classifier."
        )

    def add(
        self, kind: type[ManifestT], name: str, build: Callable[[int], tuple[ManifestT, Mapping[str, bytes]]]
    ) -> Artifact[ManifestT]:
        """Write the next version of an artifact atomically.

        Args:
            kind: ExtractorManifest or ClassifierManifest.
            name: name of the artifact; lower-case letters, digits, `_`, `.` and `-`.
            build: version -> manifest, and the contents of its files by name. It runs while the exclusive lock of the
                artifact is held, so it must be fast: compute everything that does not depend on the version before.

        Raises:
            ArtifactError: the name is invalid.
        """
        check_name(name)
        parent = self.root / _FOLDERS[kind] / name
        with exclusive_lock(parent):
            version = max((int(entry.name) for entry in parent.iterdir() if _is_version(entry)), default=0) + 1
            manifest, files = build(version)
            folder = parent / str(version)
            write_atomically(folder, {**files, MANIFEST_FILE: render(manifest)})
        return Artifact(folder, manifest)

    def scan(self, kind: type[ManifestT], errors: list[ModelsError]) -> list[Artifact[ManifestT]]:
        """List all versions like `extractors` or `classifiers`, and append an error for each invalid manifest."""
        artifacts = []
        for folder in self._version_folders(kind):
            try:
                artifacts.append(read_artifact(folder, kind))
            except CorruptArtifact as error:
                errors.append(error)
        return artifacts

    def _list(self, kind: type[ManifestT]) -> list[Artifact[ManifestT]]:
        return [read_artifact(folder, kind) for folder in self._version_folders(kind)]

    def _version_folders(self, kind: type[ManifestT]) -> list[Path]:
        base, hidden = self.root / _FOLDERS[kind], self.hidden if kind is ClassifierManifest else ()
        try:
            folders = [folder for folder in base.glob("*/*") if _is_version(folder)]
        except OSError as error:
            raise CorruptArtifact(f"Cannot load {base}: {error.filename or base} cannot be read.") from error
        folders = [folder for folder in folders if (folder.parent.name, int(folder.name)) not in hidden]
        return sorted(folders, key=lambda folder: (folder.parent.name, -int(folder.name)))

    def _select(
        self, artifacts: list[Artifact[ManifestT]], kind: str, name: str, version: int | None
    ) -> Artifact[ManifestT]:
        for artifact in artifacts:
            if artifact.manifest.name == name and version in (None, artifact.manifest.version):
                return artifact
        label = name if version is None else f"{name}@{version}"
        available = ", ".join(artifact.label for artifact in artifacts) or "none"
        raise ModelNotFound(f"There is no {kind} {label} in {self.root}. Available: {available}.")


def check_name(name: str) -> None:
    """Raise ArtifactError for an invalid artifact name, before any work is done for it."""
    if not _NAME.fullmatch(name):
        raise ArtifactError(f"{name!r} is not a valid model name: use lower-case letters, digits, _, . and -.")


def parse_name(model: str) -> tuple[str, int | None]:
    """Parse `name` or `name@version` -> (name, version); raises ModelNotFound for an invalid version."""
    name, at, version = model.partition("@")
    if at and not _VERSION.fullmatch(version):
        raise ModelNotFound(f"{model!r} is not a model: write NAME or NAME@VERSION, for example cifar10@1.")
    return name, int(version) if at else None


def _file_state(path: Path) -> tuple[str, int, int]:
    try:
        stat = path.lstat()
    except OSError:  # removed since the scan
        return str(path), 0, 0
    return str(path), stat.st_mtime_ns, stat.st_size


def _is_version(folder: Path) -> bool:
    return _VERSION.fullmatch(folder.name) is not None and folder.is_dir()


def read_artifact(folder: Path, kind: type[ManifestT]) -> Artifact[ManifestT]:
    """Read the manifest of an artifact; raises CorruptArtifact."""
    try:
        manifest = parse(read_regular_file(folder / MANIFEST_FILE, MAX_MANIFEST_BYTES), kind)
    except OSError as error:
        raise CorruptArtifact(
            f"Cannot load {folder}: it has no readable manifest.json ({error.strerror}). Install it again."
        ) from error
    except CorruptArtifact as error:
        raise CorruptArtifact(f"Cannot load {folder}: {error}. Install this version again.") from error
    if (manifest.name, str(manifest.version)) != (folder.parent.name, folder.name):
        raise CorruptArtifact(
            f"Cannot load {folder}: its manifest belongs to {manifest.name}@{manifest.version}. Rename the folder back."
        )
    if isinstance(manifest, ExtractorManifest) and WEIGHTS_FILE not in manifest.files:
        raise CorruptArtifact(
            f"Cannot load {folder}: its manifest does not list {WEIGHTS_FILE}. Install this version again."
        )
    return Artifact(folder, manifest)
