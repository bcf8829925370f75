"""Golden outputs: what a model answered when it was made, replayed each time it is loaded.

Extractors and heads are proved apart, since trees jump on tiny differences of features: an extractor by the
cosine similarity of its features and the agreement of its top classes, a head on stored features to 1e-5.
The pictures are drawn here, so that no photograph has to travel with an artifact.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from models.arrays import Pixels
from models.engines.base import Outputs, Runner
from models.errors import GoldenMismatch
from models.heads import Floats, Head
from models.manifests import Agreement
from models.networks import POOLED

IMAGES = 64
HEAD_TOLERANCE = 1e-5


def synthetic_images(size: int, count: int = IMAGES, seed: int = 0) -> Pixels:
    """Pictures of coloured shapes on gradients, uint8 [count, size, size, 3], the same for the same seed."""
    random = np.random.default_rng(seed)
    return np.stack([_synthetic_image(size, random) for _ in range(count)])


def record_extractor(engine: Runner, size: int) -> bytes:
    """Run the golden pictures; the bytes of golden.npz: pictures, float16 features, top class of each top."""
    images = synthetic_images(size)
    outputs = engine.run(images)
    return _npz(images=images, pooled=outputs[POOLED].astype(np.float16), **_top_classes(outputs))


def measure_agreement(golden: bytes, engine: Runner) -> Agreement:
    """How closely an engine repeats the golden outputs: cosines, and the least share of equal top classes of a top.

    Raises:
        GoldenMismatch: the golden outputs cannot be read, or are of other tops.
    """
    expected = _load(golden, "images", POOLED)
    outputs = engine.run(expected["images"])
    cosines = np.nan_to_num(np.clip(_cosines(outputs[POOLED], expected["pooled"].astype(np.float32)), 0, 1))
    found = _top_classes(outputs)
    shares = [float((classes == expected[key]).mean()) if key in expected else 0.0 for key, classes in found.items()]
    return Agreement(
        min_cosine=float(cosines.min()), mean_cosine=float(cosines.mean()), min_top1=min(shares, default=1.0)
    )


def replay_extractor(golden: bytes, engine: Runner, needed: Agreement) -> None:
    """Compare an engine with the golden outputs.

    Raises:
        GoldenMismatch: features or top classes differ by more than the manifest allows.
    """
    found = measure_agreement(golden, engine)
    for what, cosine, least in (
        ("", found.min_cosine, needed.min_cosine),
        ("mean ", found.mean_cosine, needed.mean_cosine),
    ):
        if not cosine >= least:
            raise GoldenMismatch(
                f"{engine.name} does not repeat the stored features: {what}cosine similarity {cosine:.5f}, "
                f"at least {least} is needed."
            )
    if found.min_top1 < needed.min_top1:
        raise GoldenMismatch(
            f"{engine.name} does not repeat the stored answers: {found.min_top1:.0%} of top classes agree, "
            f"at least {needed.min_top1:.0%} are needed."
        )


def record_head(head: Head, features: Floats) -> bytes:
    """The bytes of golden.npz for a head: features (kept as float16) and the probabilities they give."""
    stored = features.astype(np.float16)
    return _npz(features=stored, probabilities=head.predict_proba(stored.astype(np.float32)))


def replay_head(golden: bytes, head: Head) -> None:
    """Compare a head with its golden outputs; raises GoldenMismatch beyond 1e-5."""
    expected = _load(golden, "features", "probabilities")
    try:
        found = head.predict_proba(expected["features"].astype(np.float32))
    except Exception as error:  # an estimator that was never fitted, or on other features, can raise anything
        raise GoldenMismatch(f"The head cannot answer for its stored features ({type(error).__name__}).") from error
    if found.shape != expected["probabilities"].shape:
        raise GoldenMismatch("The head does not give as many probabilities as are stored.")
    difference = float(np.abs(found - expected["probabilities"]).max())
    if not difference <= HEAD_TOLERANCE:
        raise GoldenMismatch(f"The head does not repeat its stored probabilities (difference {difference:.2g}).")


def _synthetic_image(size: int, random: np.random.Generator) -> Pixels:
    corners = random.integers(0, 256, (2, 2, 3), dtype=np.uint8)
    picture = Image.fromarray(corners).resize((size, size), Image.Resampling.BILINEAR)
    pen = ImageDraw.Draw(picture)
    for _ in range(random.integers(2, 7)):
        colour = tuple(int(value) for value in random.integers(0, 256, 3))
        left, top = random.uniform(-0.2, 0.8, 2) * size
        width, height = random.uniform(0.15, 0.7, 2) * size
        box = (left, top, left + width, top + height)
        shape = random.integers(0, 4)
        if shape == 0:
            pen.ellipse(box, fill=colour)
        elif shape == 1:
            pen.rectangle(box, fill=colour)
        elif shape == 2:
            pen.polygon([tuple(point) for point in (random.uniform(0, 1, (3, 2)) * size).tolist()], fill=colour)
        else:
            pen.line(box, fill=colour, width=max(1, size // 16))
    return np.asarray(picture.filter(ImageFilter.GaussianBlur(size / 128)))


def _top_classes(outputs: Outputs) -> dict[str, npt.NDArray[np.int64]]:
    return {f"top_class_{name}": value.argmax(axis=1) for name, value in outputs.items() if name != POOLED}


def _cosines(found: Floats, expected: Floats) -> Floats:
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    cosines: Floats = (found * expected).sum(axis=1) / np.maximum(lengths, np.float32(1e-12))
    return cosines


def _npz(**arrays: npt.NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _load(golden: bytes, *needed: str) -> dict[str, npt.NDArray[Any]]:
    try:
        with np.load(io.BytesIO(golden), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in {*arrays.files, *needed}}
    except Exception as error:  # a damaged archive can raise nearly anything
        raise GoldenMismatch("The golden outputs cannot be read.") from error
