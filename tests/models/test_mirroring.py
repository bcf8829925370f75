"""What a network makes of a picture and of its mirror image, averaged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models import mirroring as views
from models.arrays import Pixels
from models.classifier import BatchItem, Embedding, Extractor, classify
from models.engines.base import Outputs
from models.preprocess import PreprocessSpec
from tests.support.images import noise
from tests.support.tiny_models import fixture_extractor

SIZE = 8


class Halves:
    """A network that tells left from right: its features are the mean of the left half and that of all."""

    name = "halves:float32"

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def run(self, batch: Pixels) -> Outputs:
        self.sizes.append(len(batch))
        left, whole = batch[:, :, : SIZE // 2].mean(axis=(1, 2, 3)), batch.mean(axis=(1, 2, 3))
        return {"pooled": np.stack([left, whole], axis=1).astype(np.float32)}


def pictures(count: int) -> Pixels:
    return np.stack([noise(SIZE, SIZE, seed) for seed in range(count)])


@given(st.lists(st.booleans(), min_size=1, max_size=9))
def test_mirrored_rows_do_not_change_when_they_are_turned_and_others_do_not_change_at_all(wanted: list[bool]) -> None:
    engine, pixels = Halves(), pictures(len(wanted))
    mirrored, plain = np.flatnonzero(wanted), np.flatnonzero(np.logical_not(wanted))
    found = views.run_with_mirroring(engine, pixels, mirrored)["pooled"]
    turned = views.run_with_mirroring(engine, np.ascontiguousarray(pixels[:, :, ::-1]), mirrored)["pooled"]
    np.testing.assert_allclose(turned[mirrored], found[mirrored], rtol=1e-5)
    np.testing.assert_array_equal(found[plain], engine.run(pixels)["pooled"][plain])
    assert (found[plain] != turned[plain])[:, 0].all(), "the network would not tell left from right"
    assert max(engine.sizes) == len(wanted), "no batch is larger than the one that was asked for"


def test_in_one_batch_each_row_is_mirrored_if_its_own_spec_says_so() -> None:
    extractor: Extractor = replace(fixture_extractor(), engine=Halves())  # type: ignore[arg-type]
    plain = Embedding(extractor, PreprocessSpec(size=32))
    mirrored = Embedding(extractor, PreprocessSpec(size=32, mirror=True))
    image = noise(SIZE, SIZE, 1)
    ((first,), (second,), (third,)) = classify(
        extractor.engine, [BatchItem(image, (each,)) for each in (plain, mirrored, plain)]
    )
    np.testing.assert_array_equal(first, third)
    assert second[0] != first[0]
    np.testing.assert_allclose(second[0], image.mean(), rtol=1e-5)
