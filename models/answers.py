"""Pictures on disk -> probabilities, in this process, in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from models.classifier import Classifier, Row, classify
from models.heads import Floats
from models.streaming import prepared_batches


def pictures(places: Iterable[Path]) -> list[Path]:
    """Files as they are, and all files below folders, sorted; hidden ones do not count."""
    found: list[Path] = []
    for place in places:
        if place.is_dir():
            found += sorted(path for path in place.rglob("*") if path.is_file() and not path.name.startswith("."))
        else:
            found.append(place)
    return found


def answer(
    classifier: Classifier, paths: Iterable[Path], failed: Callable[[Path, str], None]
) -> Iterator[tuple[Path, Floats]]:
    """Probabilities [classes] of each picture, in order; one that cannot be read is told to `failed`."""
    for keys, pixels in prepared_batches({path: path for path in paths}, classifier.spec, failed):
        rows = [Row(image, (classifier,)) for image in pixels]
        for path, (probabilities,) in zip(keys, classify(classifier.extractor.engine, rows), strict=True):
            yield path, probabilities
