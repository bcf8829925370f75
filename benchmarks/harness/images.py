"""Generated JPEG images: the example images of the web page with random noise."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

_EXAMPLES = Path(__file__).parents[2] / "app" / "page" / "static" / "examples"
_NOISE = 4.0  # standard deviation, in levels of 0 to 255
_QUALITY = 85


def class_names() -> list[str]:
    """Return the classes of the example images, in the order in which `generate_jpegs` uses them."""
    return [file.stem for file in _example_files()]


def generate_jpegs(count: int, width: int, height: int | None = None, seed: int = 0) -> list[bytes]:
    """Generate distinct JPEG images, deterministic for a seed.

    Args:
        count: number of images.
        width: in pixels.
        height: in pixels; by default the width.
        seed: of the noise.
    """
    random = np.random.default_rng(seed)
    size = (width, height or width)
    originals = [np.asarray(Image.open(file).convert("RGB").resize(size), np.float32) for file in _example_files()]
    return [_encode_with_noise(originals[number % len(originals)], random) for number in range(count)]


def write_jpegs(folder: Path, count: int, side: int) -> None:
    """Write generated square JPEG images into a folder."""
    for number, data in enumerate(generate_jpegs(count, side)):
        (folder / f"{number:06}.jpg").write_bytes(data)


def _example_files() -> list[Path]:
    return sorted(_EXAMPLES.glob("*.jpg"))


def _encode_with_noise(
    original: np.ndarray[tuple[int, int, int], np.dtype[np.float32]], random: np.random.Generator
) -> bytes:
    noisy = original + random.standard_normal(original.shape, np.float32) * _NOISE
    buffer = BytesIO()
    Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()
