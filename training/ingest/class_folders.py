"""Import of class folders as a dataset in which the service can read every image.

    source ──unpack──▶ folder ──find──▶ files ──check──▶ images ──resolve duplicates──▶ kept ──store──▶ DATA/NAME
                                                  │                  │
                                                  not an image       duplicate           ──▶ rejected.csv

The bytes of images are copied unchanged. Identical files under two labels are all rejected, because one label is
wrong. Of identical files under one label one is kept, preferably in a split for testing.
"""

from __future__ import annotations

import hashlib
import shutil
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from models.arrays import Pixels
from models.console.progress import Track, silent
from models.decoding.errors import ImageError
from models.preprocess import decode_array
from training.data.archives import unpack
from training.data.class_folder import UnusedEntry
from training.data.layout import CLASSES_FILE, ImageFile, Layout, detect_layout
from training.data.near_duplicates import thumbnail
from training.errors import DatasetError
from training.ingest.report import ImportReport, RejectedFile, write_rejected
from training.ingest.staging import child_folder, stage_dataset
from training.runtime.names import printable_path
from training.runtime.thread_map import thread_map

#: Files, classes and entries listed in a message.
_MAX_FILES_SHOWN = 20
_MAX_CLASSES_SHOWN = 5
_MAX_LOOSE_SHOWN = 10


@dataclass(frozen=True, eq=False)
class CheckedFile:
    """A decoded file: its SHA-256 and its thumbnail, by which near duplicates are found, or the error of no image."""

    file: ImageFile
    digest: str = ""
    error: str = ""
    thumbnail: Pixels = field(default_factory=lambda: np.empty(0, np.uint8))


def import_class_folders(
    name: str, source: Path, data: Path, *, replace: bool = False, track: Track = silent
) -> ImportReport:
    """Import class folders into the data folder after checking every file.

    Args:
        name: of the new dataset, which becomes the folder `data / name`.
        source: a folder or an archive in a layout that `training.data.layout` detects.
        data: the folder of all datasets.
        replace: replace an existing dataset of that name.
        track: shows progress.

    Raises:
        DatasetError: the source does not exist or has no usable image, or the dataset exists.
    """
    if not source.exists():
        raise DatasetError(f"There is nothing at {source}. Give a folder or an archive with --from.")
    with stage_dataset(child_folder(data, name), replace=replace) as staging:
        layout = detect_layout(_unpacked_source(source, staging.scratch / "unpacked", track))
        kept, files = resolve_duplicates(check_files(layout.files, track), layout.root)
        rejected = [*rejected_entries(layout.unused, layout.root), *files]
        if not kept:
            raise _nothing_usable(source, files or rejected)
        # Files that were unpacked for this import only can be moved instead of copied.
        _store(kept, staging.dataset, shutil.copyfile if source.is_dir() else Path.rename, track)
        if (layout.root / CLASSES_FILE).is_file():
            shutil.copyfile(layout.root / CLASSES_FILE, staging.dataset / CLASSES_FILE)
        write_rejected(rejected, staging.dataset)
    return ImportReport(data / name, _counts(kept), tuple(rejected), tuple(_notes(layout, kept)))


def resolve_duplicates(checked: Sequence[CheckedFile], root: Path) -> tuple[list[ImageFile], list[RejectedFile]]:
    """Reject files that are no images, and all but one of identical images.

    Args:
        checked: all files of a dataset.
        root: the paths of rejected files are given relative to this folder.

    Returns:
        The files to keep and the rejected files, both in the order of `checked`.
    """
    errors = {item.file: item.error for item in checked if item.error}
    by_digest: defaultdict[str, list[ImageFile]] = defaultdict(list)
    for item in checked:
        if not item.error:
            by_digest[item.digest].append(item.file)
    for identical in by_digest.values():
        errors.update(_duplicates(identical, root))
    files = [item.file for item in checked]
    rejected = [RejectedFile(printable_path(file.path, root), errors[file]) for file in files if file in errors]
    return [file for file in files if file not in errors], rejected


def rejected_entries(entries: Sequence[UnusedEntry], root: Path) -> list[RejectedFile]:
    """Return entries that are not used by their paths relative to a folder."""
    return [RejectedFile(printable_path(entry.path, root), entry.reason) for entry in entries]


def _duplicates(identical: Sequence[ImageFile], root: Path) -> Iterator[tuple[ImageFile, str]]:
    """Yield the files to reject among identical ones, each with the reason."""
    first = identical[0]
    other_label = next((file for file in identical if file.label != first.label), None)
    keeper = next((file for file in identical if file.split != "train"), first)
    for file in identical:
        if other_label is not None:
            other = other_label if file.label == first.label else first
            yield file, f"the same image under two labels: also {printable_path(other.path, root)}"
        elif file is not keeper:
            yield file, f"the same image as {printable_path(keeper.path, root)}"


def _unpacked_source(source: Path, folder: Path, track: Track) -> Path:
    if source.is_dir():
        return source
    unpack(source, folder, track)
    return folder


def check_files(files: Sequence[ImageFile], track: Track) -> list[CheckedFile]:
    """Decode every file, with one thread per core."""
    with track("Checking", len(files), "files") as advance, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns about odd metadata, which does not affect the pixels
        return thread_map(_check_file, files, advance)


def _check_file(file: ImageFile) -> CheckedFile:
    try:
        content = file.path.read_bytes()
        rgb = decode_array(content)
    except ImageError as error:
        return CheckedFile(file, error=str(error).partition(". ")[0].rstrip("."))
    except OSError as error:
        return CheckedFile(file, error=f"cannot be read ({error.strerror})")
    except MemoryError:
        return CheckedFile(file, error="decoding needs more memory than is available")
    return CheckedFile(file, digest=hashlib.sha256(content).hexdigest(), thumbnail=thumbnail(rgb))


def _store(files: Sequence[ImageFile], folder: Path, put: Callable[[Path, Path], object], track: Track) -> None:
    def store_file(copy: tuple[ImageFile, Path]) -> None:
        file, target = copy
        target.parent.mkdir(parents=True, exist_ok=True)
        put(file.path, target)

    with track("Storing", len(files)) as advance:
        thread_map(store_file, list(zip(files, _targets(files, folder), strict=True)), advance)


def _targets(files: Sequence[ImageFile], folder: Path) -> list[Path]:
    """Return where each file is stored; files of the same name in two folders of one class get different ones."""
    targets: dict[Path, None] = {}
    for file in files:
        wanted = folder / file.split / file.label / file.path.relative_to(file.folder)
        target, number = wanted, 1
        while target in targets:
            number += 1
            target = wanted.with_name(f"{wanted.stem}-{number}{wanted.suffix}")
        targets[target] = None
    return list(targets)


def _counts(files: Sequence[ImageFile]) -> dict[str, dict[str, int]]:
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for file in files:
        counts[file.split][file.label] += 1
    return {split: dict(classes) for split, classes in counts.items()}


def _notes(layout: Layout, kept: Sequence[ImageFile]) -> list[str]:
    """Report what is not imported and no rejected file: class folders without usable images, and loose files.

    Classes that have test images but no training images are reported, too.
    """
    counts = _counts(kept)
    notes = [
        f"no usable image in {file.split}/{file.label}: this class folder is skipped"
        for file in layout.unusable_folders(kept)
    ]
    if layout.loose:
        paths = [printable_path(entry.path, layout.root) for entry in layout.loose]
        more = f" and {len(paths) - _MAX_LOOSE_SHOWN:,} more" if len(paths) > _MAX_LOOSE_SHOWN else ""
        notes.append(f"not imported, because not in a class folder: {', '.join(paths[:_MAX_LOOSE_SHOWN])}{more}")
    trained = counts.get("train", {})
    for split, classes in counts.items():
        untrained = sorted(set(classes) - set(trained))
        if trained and untrained:
            shown = ", ".join(untrained[:_MAX_CLASSES_SHOWN])
            notes.append(f"{split} has classes without training images: {shown}")
    return notes


def _nothing_usable(source: Path, rejected: Sequence[RejectedFile]) -> DatasetError:
    listing = "\n".join(f"  {item.path}: {item.reason}" for item in rejected[:_MAX_FILES_SHOWN])
    return DatasetError(f"None of the {len(rejected):,} files in {source} can be used:\n{listing}")
