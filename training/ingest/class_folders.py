"""Class folders -> a dataset in which every file is an image that the service can read.

    source ──unpack──▶ folder ──find──▶ files ──check──▶ images ──settle──▶ kept ──store──▶ DATA/NAME
                                                  │                  │
                                                  no image           duplicate           ──▶ rejected.csv

An image's bytes are copied as they are. The same bytes under two labels teach nothing and are rejected both;
of the same bytes under one label one is kept, in a split for testing rather than in the one for training.
"""

from __future__ import annotations

import hashlib
import shutil
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.arrays import decode_array
from models.console.progress import Track, silent
from models.errors import ImageError
from training.data.archives import unpack
from training.data.layout import CLASSES_FILE, ImageFile, Layout, detect_layout
from training.data.near_duplicates import dhash
from training.errors import DatasetError
from training.ingest.report import ImportReport, Rejected, write_rejected
from training.ingest.staging import folder_in, staged
from training.runtime.thread_map import thread_map

_LISTED_IN_AN_ERROR = 20


@dataclass(frozen=True)
class Checked:
    """A file that was decoded: its SHA-256 and its dHash (`training.data.near_duplicates`), or why it is no image."""

    file: ImageFile
    digest: str = ""
    fault: str = ""
    dhash: int = 0


def import_folders(
    name: str, source: Path, data: Path, *, replace: bool = False, track: Track = silent
) -> ImportReport:
    """Bring class folders into the data folder, with every file checked.

    Args:
        name: of the new dataset, which becomes the folder `data / name`.
        source: a folder or an archive that `training.data.layout` understands.
        data: the folder of all datasets.
        replace: put it in the place of a dataset of that name.
        track: shows progress.

    Raises:
        DatasetError: there is no such source, no usable image in it, or a dataset of that name already.
    """
    if not source.exists():
        raise DatasetError(f"There is nothing at {source}. Give a folder or an archive with --from.")
    with staged(folder_in(data, name), replace=replace) as staging:
        layout = detect_layout(_opened(source, staging.scratch / "unpacked", track))
        kept, rejected = resolve_duplicates(check(layout.files, track), layout.root)
        rejected += [Rejected(shown(path, layout.root), "lies in no class folder") for path in layout.strays]
        if not kept:
            raise _nothing_usable(source, rejected)
        # What was unpacked for this import is not needed twice.
        _store(kept, staging.dataset, shutil.copyfile if source.is_dir() else Path.rename, track)
        if (layout.root / CLASSES_FILE).is_file():
            shutil.copyfile(layout.root / CLASSES_FILE, staging.dataset / CLASSES_FILE)
        write_rejected(rejected, staging.dataset)
    return ImportReport(data / name, _counts(kept), tuple(rejected), tuple(_notes(layout, kept)))


def resolve_duplicates(checked: Sequence[Checked], root: Path) -> tuple[list[ImageFile], list[Rejected]]:
    """Decide what is kept: what could be decoded, each image once and under one label.

    Args:
        checked: all files of a dataset.
        root: folder that the paths of rejected files are shown below.

    Returns:
        The files to keep and those rejected, both in the order of `checked`.
    """
    faults = {item.file: item.fault for item in checked if item.fault}
    twins: defaultdict[str, list[ImageFile]] = defaultdict(list)
    for item in checked:
        if not item.fault:
            twins[item.digest].append(item.file)
    for same in twins.values():
        faults.update(_duplicates(same, root))
    files = [item.file for item in checked]
    rejected = [Rejected(shown(file.path, root), faults[file]) for file in files if file in faults]
    return [file for file in files if file not in faults], rejected


def _duplicates(same: Sequence[ImageFile], root: Path) -> Iterator[tuple[ImageFile, str]]:
    """Of files with the same bytes, those not to keep, and why."""
    first = same[0]
    contrary = next((file for file in same if file.label != first.label), None)
    keeper = next((file for file in same if file.split != "train"), first)
    for file in same:
        if contrary is not None:
            other = contrary if file.label == first.label else first
            yield file, f"the same image under two labels: also {shown(other.path, root)}"
        elif file is not keeper:
            yield file, f"the same image as {shown(keeper.path, root)}"


def _opened(source: Path, folder: Path, track: Track) -> Path:
    if source.is_dir():
        return source
    unpack(source, folder, track)
    return folder


def check(files: Sequence[ImageFile], track: Track) -> list[Checked]:
    """Decode every file, a thread for each core."""
    with track("Checking", len(files), "files") as advance, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of odd metadata: no verdict on the pixels
        return thread_map(_check_one, files, advance)


def _check_one(file: ImageFile) -> Checked:
    try:
        content = file.path.read_bytes()
        rgb = decode_array(content)
    except ImageError as error:
        return Checked(file, fault=str(error).partition(". ")[0].rstrip("."))
    except OSError as error:
        return Checked(file, fault=f"cannot be read ({error.strerror})")
    except MemoryError:
        return Checked(file, fault="decoding needs more memory than there is")
    return Checked(file, digest=hashlib.sha256(content).hexdigest(), dhash=dhash(rgb))


def _store(files: Sequence[ImageFile], folder: Path, put: Callable[[Path, Path], object], track: Track) -> None:
    def store_one(file: ImageFile) -> None:
        target = folder / file.split / file.label / file.path.relative_to(file.folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        put(file.path, target)

    with track("Storing", len(files)) as advance:
        thread_map(store_one, files, advance)


def _counts(files: Sequence[ImageFile]) -> dict[str, dict[str, int]]:
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for file in files:
        counts[file.split][file.label] += 1
    return {split: dict(classes) for split, classes in counts.items()}


def _notes(layout: Layout, kept: Sequence[ImageFile]) -> list[str]:
    """Class folders that came to nothing, and classes that can be tested but not learnt."""
    counts = _counts(kept)
    notes = [
        f"no usable image in {split}/{label}; the class is left out there"
        for split, labels in layout.classes.items()
        for label in labels
        if label not in counts.get(split, {})
    ]
    trained = counts.get("train", {})
    for split, classes in counts.items():
        strange = sorted(set(classes) - set(trained))
        if trained and strange:
            notes.append(f"{split} has classes without training images: {', '.join(strange[:5])}")
    return notes


def shown(path: Path, root: Path) -> str:
    """A path for people: no control characters, nothing that cannot be encoded."""
    text = path.relative_to(root).as_posix()
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


def _nothing_usable(source: Path, rejected: Sequence[Rejected]) -> DatasetError:
    listed = "\n".join(f"  {item.path}: {item.reason}" for item in rejected[:_LISTED_IN_AN_ERROR])
    return DatasetError(f"None of the {len(rejected):,} files in {source} can be used:\n{listed}")
