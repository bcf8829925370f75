"""The store: artifacts on disk, saved whole or not at all, and read only where every digest matches.

store/extractors/NAME/VERSION/     manifest.json  weights.safetensors  golden.npz  README.md
store/classifiers/NAME/VERSION/    manifest.json  head.pkl  golden.npz  holdout.npy  README.md
"""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic

from models.artifacts.atomic_write import exclusive_lock, write_atomically
from models.errors import ArtifactError, CorruptArtifact, ModelNotFound
from models.manifests import (
    WEIGHTS_FILE,
    ClassifierManifest,
    ExtractorManifest,
    M,
    parse,
    render,
    sha256,
)

DEFAULT_STORE = Path(__file__).parents[1] / "store"
MANIFEST_FILE = "manifest.json"

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_VERSION = re.compile(r"[0-9]{1,9}")
_FOLDERS: dict[type, str] = {ExtractorManifest: "extractors", ClassifierManifest: "classifiers"}


Versions = frozenset[tuple[str, int]]
"""Names and versions of artifacts."""


@dataclass(frozen=True)
class Artifact(Generic[M]):
    """One version of an extractor or a classifier, and the folder that it lies in."""

    folder: Path
    manifest: M

    @property
    def label(self) -> str:
        """`name@version`, as users write it."""
        return f"{self.manifest.name}@{self.manifest.version}"

    def read(self, file: str) -> bytes:
        """The bytes of one file, which are the ones that the manifest names.

        Raises:
            CorruptArtifact: the file is missing, not named by the manifest, or changed.
        """
        expected = self.manifest.files.get(file)
        if expected is None:
            raise self._corrupt(f"its manifest names no {file}")
        try:
            data = (self.folder / file).read_bytes()
        except OSError as error:
            raise self._corrupt(f"{file} is missing or cannot be read") from error
        if sha256(data) != expected:
            raise self._corrupt(f"{file} was changed (its SHA-256 is not the one in the manifest)")
        return data

    def verify(self) -> None:
        """Check every file against its digest, and that there is none besides.

        Raises:
            CorruptArtifact: with the first file that does not fit.
        """
        for file in self.manifest.files:
            self.read(file)
        try:
            there = {entry.name for entry in self.folder.iterdir()}
        except OSError as error:
            raise self._corrupt("its folder is missing or cannot be read") from error
        unexpected = there - {MANIFEST_FILE, *self.manifest.files}
        if unexpected:
            raise self._corrupt(f"{min(unexpected)} does not belong there")

    def _corrupt(self, why: str) -> CorruptArtifact:
        return CorruptArtifact(
            f"Refusing {self.label} in {self.folder}: {why}. Install this version again, or remove the folder."
        )


ExtractorArtifact = Artifact[ExtractorManifest]
ClassifierArtifact = Artifact[ClassifierManifest]


@dataclass(frozen=True)
class Store:
    """A folder of artifacts.

    Attributes:
        hidden: classifiers that are left out as if they were not there, whatever state they are in.
    """

    root: Path = DEFAULT_STORE
    hidden: Versions = frozenset()

    def extractors(self) -> list[ExtractorArtifact]:
        """All versions of all extractors, by name, the newest first. Reads manifests only."""
        return self._all(ExtractorManifest)

    def classifiers(self) -> list[ClassifierArtifact]:
        """All versions of all classifiers, by name, the newest first. Reads manifests only."""
        return self._all(ClassifierManifest, self.hidden)

    def fingerprint(self) -> frozenset[tuple[str, int, int]]:
        """Path, time of change and size of every file: equal as long as nothing has changed."""
        versions = [self.root / kind / "*" / "*" for kind in _FOLDERS.values()]
        # glob.glob, unlike Path.glob, passes over folders that go away while it looks.
        files = [Path(name) for place in versions for name in glob.glob(str(place / "*"))]  # noqa: PTH207
        return frozenset(_file_state(path) for path in files if _VERSION.fullmatch(path.parent.name))

    def extractor(self, name: str, version: int | None = None) -> ExtractorArtifact:
        """One extractor, by default its newest version; raises ModelNotFound."""
        return self._one(self.extractors(), "extractor", name, version)

    def classifier(self, name: str, version: int | None = None) -> ClassifierArtifact:
        """One classifier, by default its newest version; raises ModelNotFound."""
        return self._one(self.classifiers(), "classifier", name, version)

    def extractor_of(self, classifier: ClassifierArtifact) -> ExtractorArtifact:
        """The extractor that the classifier's head was fitted on: by weights, input size and output.

        Raises:
            ModelNotFound: it is not in the store.
        """
        wanted, size = classifier.manifest.extractor, classifier.manifest.preprocess.size
        for artifact in self.extractors():
            there = artifact.manifest
            same_weights = there.name == wanted.name and there.weights_sha256 == wanted.weights_sha256
            if same_weights and there.input_size == size and wanted.output in there.outputs:
                return artifact
        raise ModelNotFound(
            f"{classifier.label} needs the extractor {wanted.name} for {size} px with weights "
            f"{wanted.weights_sha256[:12]}… and output {wanted.output}, "
            f"which is not in {self.root}. Install that extractor, or remove the classifier."
        )

    def add(self, build: Callable[[int], tuple[M, Mapping[str, bytes]]], kind: type[M], name: str) -> Artifact[M]:
        """Write the next version of an artifact, whole or not at all.

        Args:
            build: version -> its manifest and its files by name.
            kind: ExtractorManifest or ClassifierManifest.
            name: lower-case letters, digits, `_`, `.` and `-`.

        Raises:
            ArtifactError: the name is not of that form.
        """
        check_name(name)
        parent = self.root / _FOLDERS[kind] / name
        with exclusive_lock(parent):
            version = max((int(entry.name) for entry in parent.iterdir() if _is_version(entry)), default=0) + 1
            manifest, files = build(version)
            place = parent / str(version)
            write_atomically(place, {**files, MANIFEST_FILE: render(manifest)})
        return Artifact(place, manifest)

    def _all(self, kind: type[M], hidden: Versions = frozenset()) -> list[Artifact[M]]:
        base = self.root / _FOLDERS[kind]
        try:
            folders = [folder for folder in base.glob("*/*") if _is_version(folder)]
        except OSError as error:
            raise CorruptArtifact(f"Refusing {base}: {error.filename or base} cannot be read.") from error
        folders = [folder for folder in folders if (folder.parent.name, int(folder.name)) not in hidden]
        folders.sort(key=lambda folder: (folder.parent.name, -int(folder.name)))
        return [_read_manifest(folder, kind) for folder in folders]

    def _one(self, artifacts: list[Artifact[M]], what: str, name: str, version: int | None) -> Artifact[M]:
        for artifact in artifacts:
            if artifact.manifest.name == name and version in (None, artifact.manifest.version):
                return artifact
        wanted = name if version is None else f"{name}@{version}"
        there = ", ".join(artifact.label for artifact in artifacts) or "none"
        raise ModelNotFound(f"There is no {what} {wanted} in {self.root}. There is: {there}.")


def check_name(name: str) -> None:
    """Raise ArtifactError if an artifact cannot be saved by this name, before work is put into it."""
    if not _NAME.fullmatch(name):
        raise ArtifactError(f"{name!r} is no name for a model: use lower-case letters, digits, _, . and -.")


def parse_name(model: str) -> tuple[str, int | None]:
    """`name` or `name@version` -> (name, version); raises ModelNotFound for anything else."""
    name, at, version = model.partition("@")
    if at and not _VERSION.fullmatch(version):
        raise ModelNotFound(f"{model!r} is no model: write NAME or NAME@VERSION, for example cifar10@1.")
    return name, int(version) if at else None


def _file_state(path: Path) -> tuple[str, int, int]:
    try:
        found = path.stat()
    except OSError:  # it went away just now
        return str(path), 0, 0
    return str(path), found.st_mtime_ns, found.st_size


def _is_version(folder: Path) -> bool:
    return _VERSION.fullmatch(folder.name) is not None and folder.is_dir()


def _read_manifest(folder: Path, kind: type[M]) -> Artifact[M]:
    try:
        manifest = parse((folder / MANIFEST_FILE).read_bytes(), kind)
    except OSError as error:
        raise CorruptArtifact(f"Refusing {folder}: it has no readable manifest.json. Install it again.") from error
    except CorruptArtifact as error:
        raise CorruptArtifact(f"Refusing {folder}: {error}. Install this version again.") from error
    if (manifest.name, str(manifest.version)) != (folder.parent.name, folder.name):
        raise CorruptArtifact(f"Refusing {folder}: its manifest is of {manifest.name}@{manifest.version}.")
    if isinstance(manifest, ExtractorManifest) and WEIGHTS_FILE not in manifest.files:
        raise CorruptArtifact(f"Refusing {folder}: its manifest names no {WEIGHTS_FILE}. Install this version again.")
    return Artifact(folder, manifest)
