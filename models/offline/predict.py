"""Local classification of image files, in batches."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from models.arrays import Floats
from models.classifier import BatchItem, Classifier, classify
from models.file_names import has_metadata, is_metadata
from models.offline.loader import load_batches, prefetch
from models.preprocess import PreprocessSpec

STDIN = "-"
MAX_BATCH_SIZE = 128
_MAX_BATCH_PIXELS = 32 * 299**2  # a network's activations take about a hundred times as many bytes


def find_images(patterns: Iterable[str]) -> dict[str, Path]:
    """Find image files; returns their paths by name.

    Args:
        patterns: files, folders (all files below them), glob patterns with `*`, `?` and `**` that the shell did not
            expand, and `-` for one image on standard input. Hidden files and folders and the metadata of file managers
            are left out, unless they are named.
    """
    images: dict[str, Path] = {}
    for pattern in patterns:
        if pattern == STDIN:
            images[STDIN] = Path("/dev/stdin")
        else:
            images |= {str(path): path for path in _expand(Path(pattern))}
    return images


def _expand(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if not has_metadata(file.relative_to(path)) and file.is_file())
    if path.exists() or not glob.has_magic(str(path)):
        return [path]
    matches = map(Path, glob.iglob(str(path), recursive=True))  # noqa: PTH207 -- Path.glob rejects absolute patterns
    named = frozenset(path.parts)
    images = (match for match in matches if not _is_unnamed_metadata(match, named))
    return sorted(file for match in images for file in (_expand(match) if match.is_dir() else [match]))


def _is_unnamed_metadata(match: Path, named: frozenset[str]) -> bool:
    """Return True if a wildcard matched metadata; it matches a leading dot only if the pattern has one there."""
    return any(is_metadata(part) and not part.startswith(".") for part in match.parts if part not in named)


def classify_files(
    classifier: Classifier, images: Mapping[str, Path], on_failure: Callable[[str, str], None]
) -> Iterator[tuple[str, Floats]]:
    """Yield name and probabilities [classes] of each image, in order.

    Decoding and inference continue while the caller processes the results.

    Args:
        classifier: the classifier.
        images: paths by name.
        on_failure: called with name and reason for each image that cannot be read; it is skipped.
    """

    def batches() -> Iterator[list[tuple[str, Floats]]]:
        for names, batch in load_batches(images, classifier.spec, on_failure, _batch_size(classifier.spec)):
            items = [BatchItem(pixels, (classifier,)) for pixels in batch]
            results = classify(classifier.extractor.engine, items)
            yield [(name, probabilities) for name, (probabilities,) in zip(names, results, strict=True)]

    for batch in prefetch(batches()):
        yield from batch


def _batch_size(spec: PreprocessSpec) -> int:
    """Return the batch size: larger batches are faster per image, but use more memory."""
    return max(1, min(MAX_BATCH_SIZE, _MAX_BATCH_PIXELS // spec.size**2))
