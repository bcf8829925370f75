"""Pictures on disk -> probabilities, in this process, in batches."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from models.classifier import BatchItem, Classifier, classify
from models.heads import Floats
from models.offline.loader import load_batches, prefetch
from models.preprocess import PreprocessSpec

STDIN = "-"
BATCH = 128
"""Pictures that one run of a network takes at most."""
_BATCH_PIXELS = 32 * 299**2  # what a network makes of them on its way takes a hundred times as many bytes


def find_images(places: Iterable[str]) -> dict[str, Path]:
    """Where pictures lie, by the names under which they are told.

    Args:
        places: files, folders (all files below them, hidden ones apart), patterns with `*`, `?` and `**` that no shell
            has replaced, and `-` for one picture on standard input.
    """
    found: dict[str, Path] = {}
    for place in places:
        if place == STDIN:
            found[STDIN] = Path("/dev/stdin")
        else:
            found |= {str(path): path for path in _below(Path(place))}
    return found


def _below(place: Path) -> list[Path]:
    if place.is_dir():
        return sorted(path for path in place.rglob("*") if path.is_file() and not path.name.startswith("."))
    if place.exists() or not glob.has_magic(str(place)):
        return [place]
    matching = map(Path, glob.iglob(str(place), recursive=True))  # noqa: PTH207 -- Path.glob takes no absolute one
    return sorted(path for each in matching for path in (_below(each) if each.is_dir() else [each]))


def classify_files(
    classifier: Classifier, images: Mapping[str, Path], failed: Callable[[str, str], None]
) -> Iterator[tuple[str, Floats]]:
    """Probabilities [classes] of each picture, in order; one that cannot be read is told to `failed`.

    Pictures are decoded and the network runs while the caller works on what is there already.
    """

    def batches() -> Iterator[list[tuple[str, Floats]]]:
        for keys, pixels in load_batches(images, classifier.spec, failed, _batch_size(classifier.spec)):
            rows = [BatchItem(image, (classifier,)) for image in pixels]
            found = classify(classifier.extractor.engine, rows)
            yield [(name, probabilities) for name, (probabilities,) in zip(keys, found, strict=True)]

    for batch in prefetch(batches()):
        yield from batch


def _batch_size(spec: PreprocessSpec) -> int:
    """In larger batches a picture costs less time, and they take more memory."""
    return max(1, min(BATCH, _BATCH_PIXELS // spec.size**2))
