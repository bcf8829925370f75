"""Import of CIFAR-10 (Krizhevsky, 2009) from its official archive as lossless PNG files in class folders.

url ──download──▶ archive ──unpack──▶ batches ──read──▶ pixels, labels ──write──▶ DATA/cifar10/SPLIT/CLASS
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from models.arrays import Pixels
from models.console.progress import Track, silent
from training.data.archives import unpack
from training.data.unpacking.damaged import find_damaged
from training.errors import DatasetError, DownloadError
from training.ingest.cifar10_pickle import CifarBatch, read_batch, read_names
from training.ingest.report import ImportReport
from training.ingest.staging import child_folder, stage_dataset
from training.runtime.download import RemoteFile, download, verify_checksum
from training.runtime.thread_map import thread_map

NAME = "cifar10"
URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
MD5 = "c58f30108f718f92721af3b95e74349a"  # from the official page, https://www.cs.toronto.edu/~kriz/cifar.html

BATCHES = {"train": tuple(f"data_batch_{number}" for number in range(1, 6)), "test": ("test_batch",)}
META = "batches.meta"

_ALTERNATIVES = (
    "Download cifar-10-python.tar.gz yourself and run: python -m training import cifar10 --from FILE. "
    "Or use a mirror with --url URL."
)


def import_cifar10(
    source: Path | None,
    data: Path,
    *,
    url: str = URL,
    checksum: str | None = None,
    replace: bool = False,
    track: Track = silent,
) -> ImportReport:
    """Import CIFAR-10 as `cifar10/{train,test}/CLASS/NNNNN.png`, where NNNNN is the official index.

    Args:
        source: the official archive or its unpacked folder; None downloads it.
        data: the folder of all datasets.
        url: where to download from.
        checksum: MD5 or SHA-256 of the archive; None means the official one for a download, and no check of a local
            file.
        replace: replace an existing dataset of that name.
        track: shows progress.

    Raises:
        DatasetError: the archive cannot be downloaded, is damaged or is not CIFAR-10, or the dataset exists.
    """
    if source is not None and not source.exists():
        raise DatasetError(f"There is nothing at {source}. {_ALTERNATIVES}")
    with stage_dataset(child_folder(data, NAME), replace=replace) as staging:
        folder = _find_batches(_unpacked_source(source, staging.scratch, url, checksum, track))
        names = _read_class_names(folder)
        images = {
            split: _write_split(_read_split(folder, files, len(names)), names, staging.dataset / split, track)
            for split, files in BATCHES.items()
        }
    return ImportReport(data / NAME, images)


def _unpacked_source(source: Path | None, scratch: Path, url: str, checksum: str | None, track: Track) -> Path:
    """Download, verify and unpack the archive as far as necessary; return the unpacked folder."""
    if source is not None and source.is_dir():
        return source
    try:
        if source is None:
            source = scratch / "cifar-10-python.tar.gz"
            download(RemoteFile(url, checksum or MD5), source, track)
        elif checksum is not None:
            verify_checksum(source, checksum, str(source))
    except DownloadError as error:
        raise DatasetError(f"{error} {_ALTERNATIVES}") from error
    unpack(source, scratch / "unpacked", track)
    return scratch / "unpacked"


def _find_batches(folder: Path) -> Path:
    """Return the folder of the batches: `folder` or a child of it. Raises DatasetError if a batch is missing."""
    needed = [META, *BATCHES["train"], *BATCHES["test"]]
    for candidate in (folder, *sorted(child for child in folder.iterdir() if child.is_dir())):
        if all((candidate / name).is_file() for name in needed):
            return candidate
    for path, reason in find_damaged(folder):
        raise DatasetError(f"{path.relative_to(folder)} {reason}. Download the official archive again.")
    raise DatasetError(
        f"This is not the official CIFAR-10 for Python, which has the files {', '.join(needed)}. "
        "Import class folders under another name: python -m training import NAME --from DIR."
    )


def _read_class_names(folder: Path) -> tuple[str, ...]:
    names = read_names((folder / META).read_bytes())
    for name in names:
        child_folder(folder, name)  # raises if a name could lead to another folder
    if not names or len(set(names)) < len(names):
        raise DatasetError(f"{META} does not name the classes. Download the official archive again.")
    return names


def _read_split(folder: Path, files: tuple[str, ...], classes: int) -> CifarBatch:
    """Read all images of a split, in the official order."""
    batches = [read_batch((folder / file).read_bytes()) for file in files]
    labels = np.concatenate([batch.labels for batch in batches])
    if not all(0 <= label < classes for label in labels):
        raise DatasetError(f"{', '.join(files)} have labels beyond the {classes} classes. Download them again.")
    return CifarBatch(np.concatenate([batch.pixels for batch in batches]), labels)


def _write_split(batch: CifarBatch, names: tuple[str, ...], folder: Path, track: Track) -> dict[str, int]:
    """Write the images of a split and return the number of images of each class."""
    for name in names:
        (folder / name).mkdir(parents=True)
    files = [folder / names[label] / f"{index:05d}.png" for index, label in enumerate(batch.labels)]
    with track(f"Writing {folder.name}", len(batch)) as advance:
        thread_map(_write_image, list(zip(batch.pixels, files, strict=True)), advance)
    return dict(Counter(names[label] for label in batch.labels))


def _write_image(image: tuple[Pixels, Path]) -> None:
    pixels, file = image
    Image.fromarray(pixels).save(file)
