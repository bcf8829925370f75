"""As many different pictures as are wanted, made of the few that are shipped as examples."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

_EXAMPLES = Path(__file__).parents[2] / "app" / "page" / "static" / "examples"
_NOISE = 4.0
_QUALITY = 85


def names() -> list[str]:
    """What the examples show, in the order in which pictures are made of them."""
    return [file.stem for file in _files()]


def jpegs(count: int, width: int, height: int | None = None, seed: int = 0) -> list[bytes]:
    """JPEG files of these pixels: the examples in turn, each with noise of its own, the same for each seed."""
    random = np.random.default_rng(seed)
    size = (width, height or width)
    originals = [np.asarray(Image.open(file).convert("RGB").resize(size), np.float32) for file in _files()]
    return [_jpeg(originals[number % len(originals)], random) for number in range(count)]


def write(folder: Path, count: int, side: int) -> int:
    """Put such files into a folder; their size in bytes."""
    files = jpegs(count, side)
    for number, data in enumerate(files):
        (folder / f"{number:06}.jpg").write_bytes(data)
    return sum(map(len, files))


def _files() -> list[Path]:
    return sorted(_EXAMPLES.glob("*.jpg"))


def _jpeg(original: np.ndarray[tuple[int, int, int], np.dtype[np.float32]], random: np.random.Generator) -> bytes:
    noisy = original + random.standard_normal(original.shape, np.float32) * _NOISE
    buffer = BytesIO()
    Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()
