"""Outputs averaged over an image and its mirror image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.arrays import Pixels
from models.classifier import BatchItem, Embedding, Extractor, classify
from models.engines.base import Outputs
from models.mirroring import run_with_mirroring
from models.preprocess import PreprocessSpec
from tests.support.fake_classifiers import fake_extractor
from tests.support.images import noise

SIZE = 8


class HalvesEngine:
    """A network that is not symmetric: its features are the means of the left half and of the whole image."""

    name = "halves:float32"

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def run(self, batch: Pixels) -> Outputs:
        self.sizes.append(len(batch))
        left, whole = batch[:, :, : SIZE // 2].mean(axis=(1, 2, 3)), batch.mean(axis=(1, 2, 3))
        return {"pooled": np.stack([left, whole], axis=1).astype(np.float32)}


def images(count: int) -> Pixels:
    return np.stack([noise(SIZE, SIZE, seed) for seed in range(count)])


@given(st.lists(st.booleans(), min_size=1, max_size=9))
def test_mirrored_rows_are_invariant_to_flips_and_others_unchanged(is_mirrored: list[bool]) -> None:
    engine, pixels = HalvesEngine(), images(len(is_mirrored))
    mirrored, plain = np.flatnonzero(is_mirrored), np.flatnonzero(np.logical_not(is_mirrored))
    outputs = run_with_mirroring(engine, pixels, mirrored)["pooled"]
    assert engine.sizes == [len(pixels), *([len(mirrored)] if any(is_mirrored) else [])], "an empty batch was run"
    flipped = run_with_mirroring(engine, np.ascontiguousarray(pixels[:, :, ::-1]), mirrored)["pooled"]
    np.testing.assert_allclose(flipped[mirrored], outputs[mirrored], rtol=1e-5)
    np.testing.assert_array_equal(outputs[plain], engine.run(pixels)["pooled"][plain])
    assert (outputs[plain] != flipped[plain])[:, 0].all(), "the network does not distinguish left and right"
    assert max(engine.sizes) == len(is_mirrored), "a batch is larger than the caller's"


def test_only_rows_whose_spec_sets_mirror_are_mirrored() -> None:
    extractor: Extractor = replace(fake_extractor(), engine=HalvesEngine())  # type: ignore[arg-type]
    plain = Embedding(extractor, PreprocessSpec(size=32))
    mirrored = Embedding(extractor, PreprocessSpec(size=32, mirror=True))
    image = noise(SIZE, SIZE, 1)
    ((first,), (second,), (third,)) = classify(
        extractor.engine, [BatchItem(image, (consumer,)) for consumer in (plain, mirrored, plain)]
    )
    np.testing.assert_array_equal(first, third)
    assert second[0] != first[0]
    np.testing.assert_allclose(second[0], image.mean(), rtol=1e-5)
