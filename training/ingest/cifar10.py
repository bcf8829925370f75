"""CIFAR-10 from its official archive (Krizhevsky, 2009) -> lossless PNG in class folders.

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
from training.errors import DatasetError
from training.ingest.cifar10_pickle import Batch, read_batch, read_names
from training.ingest.download import download, verify
from training.ingest.report import ImportReport
from training.ingest.staging import folder_in, staged
from training.runtime.thread_map import thread_map

NAME = "cifar10"
URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
MD5 = "c58f30108f718f92721af3b95e74349a"  # as the official page gives it

BATCHES = {"train": tuple(f"data_batch_{number}" for number in range(1, 6)), "test": ("test_batch",)}
META = "batches.meta"

_WAYS_ON = (
    "Fetch cifar-10-python.tar.gz where the network allows it, then: "
    "python -m training import cifar10 --from FILE. Or name a mirror with --url URL."
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
    """Bring CIFAR-10 into the data folder: `cifar10/{train,test}/CLASS/NNNNN.png`, NNNNN its official index.

    Args:
        source: the official archive or an unpacked folder of it; none means to download it.
        data: the folder of all datasets.
        url: where to download from.
        checksum: MD5 or SHA-256 of the archive; none means the official one for a download, and no check
            of a local file.
        replace: put it in the place of a dataset of that name.
        track: shows progress.

    Raises:
        DatasetError: it cannot be downloaded, is damaged, is not CIFAR-10, or is there already.
    """
    if source is not None and not source.exists():
        raise DatasetError(f"There is nothing at {source}. {_WAYS_ON}")
    with staged(folder_in(data, NAME), replace=replace) as staging:
        folder = _batch_folder(_opened(source, staging.scratch, url, checksum, track))
        names = _names(folder)
        images = {
            split: _write(_read(folder, files, len(names)), names, staging.dataset / split, track)
            for split, files in BATCHES.items()
        }
    return ImportReport(data / NAME, images)


def _opened(source: Path | None, scratch: Path, url: str, checksum: str | None, track: Track) -> Path:
    """The unpacked source."""
    if source is not None and source.is_dir():
        return source
    if source is None:
        source = scratch / "cifar-10-python.tar.gz"
        try:
            download(url, source, checksum or MD5, track)
        except DatasetError as error:
            raise DatasetError(f"{error} {_WAYS_ON}") from error
    elif checksum is not None:
        verify(source, checksum, str(source))
    unpack(source, scratch / "unpacked", track)
    return scratch / "unpacked"


def _batch_folder(folder: Path) -> Path:
    """Where the batches lie: in `folder` or right below; raises DatasetError if one is missing."""
    needed = [META, *BATCHES["train"], *BATCHES["test"]]
    for candidate in (folder, *sorted(child for child in folder.iterdir() if child.is_dir())):
        if all((candidate / name).is_file() for name in needed):
            return candidate
    raise DatasetError(
        f"This is not the official CIFAR-10 for Python, which has the files {', '.join(needed)}. "
        "Class folders are imported under another name: python -m training import NAME --from DIR."
    )


def _names(folder: Path) -> tuple[str, ...]:
    names = read_names((folder / META).read_bytes())
    for name in names:
        folder_in(folder, name)  # each becomes a folder: no name may lead elsewhere
    if not names or len(set(names)) < len(names):
        raise DatasetError(f"{META} does not name the classes. Fetch the official archive again.")
    return names


def _read(folder: Path, files: tuple[str, ...], classes: int) -> Batch:
    """All images of a split, in the official order."""
    batches = [read_batch((folder / file).read_bytes()) for file in files]
    labels = np.concatenate([batch.labels for batch in batches])
    if not all(0 <= label < classes for label in labels):
        raise DatasetError(f"{', '.join(files)} have labels beyond the {classes} classes. Fetch them again.")
    return Batch(np.concatenate([batch.pixels for batch in batches]), labels)


def _write(batch: Batch, names: tuple[str, ...], folder: Path, track: Track) -> dict[str, int]:
    """Write the images of a split; returns the number of each class."""
    for name in names:
        (folder / name).mkdir(parents=True)
    files = [folder / names[label] / f"{index:05d}.png" for index, label in enumerate(batch.labels)]
    with track(f"Writing {folder.name}", len(batch)) as advance:
        thread_map(_write_one, list(zip(batch.pixels, files, strict=True)), advance)
    return dict(Counter(names[label] for label in batch.labels))


def _write_one(image: tuple[Pixels, Path]) -> None:
    pixels, file = image
    Image.fromarray(pixels).save(file)
