"""Recording and replay of golden outputs."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from models.arrays import Floats, Pixels
from models.artifacts import golden
from models.engines.base import Outputs, Runner
from models.errors import GoldenMismatch
from models.heads import Head
from models.manifests import Agreement
from models.networks import POOLED
from tests.support.colour_engine import ColourEngine, mean_colours
from tests.support.colour_images import colour_images
from training.estimators.linear import Logistic

STRICT = Agreement(min_cosine=0.999, min_top1=0.98)


@dataclass
class ChangedEngine:
    """A colour engine whose outputs are changed by a function."""

    change: Callable[[dict[str, Floats]], None]
    name: str = "changed:float32"

    def run(self, batch: Pixels) -> Outputs:
        outputs = {name: value.copy() for name, value in ColourEngine().run(batch).items()}
        self.change(outputs)
        return outputs


def record() -> bytes:
    return golden.record_extractor(ColourEngine(), 32)


# --- synthetic images


def test_synthetic_images_are_deterministic() -> None:
    first = golden.synthetic_images(96, 4)
    assert first.shape == (4, 96, 96, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, golden.synthetic_images(96, 4))
    assert not np.array_equal(first, golden.synthetic_images(96, 4, seed=1))


def test_synthetic_images_are_many_and_differ() -> None:
    images = golden.synthetic_images(32)
    assert len(images) == golden.IMAGE_COUNT >= 64, "the agreement of top classes needs at least 64 images"
    assert len({image.tobytes() for image in images}) == len(images)
    assert min(image.std() for image in images) > 5, "an image has no content"


@pytest.mark.parametrize("size", [32, 96, 299])
def test_synthetic_images_have_the_statistics_of_photos(size: int) -> None:
    images = golden.synthetic_images(size, 16).astype(np.float64)
    saturated = np.isin(images, (0, 255)).mean()
    assert saturated < 0.05
    channels = [np.corrcoef(image.reshape(-1, 3).T)[np.triu_indices(3, 1)].mean() for image in images]
    assert 0.7 < np.mean(channels) < 0.98, "the channels of photos are correlated, but not equal"
    light = images.mean(axis=3)
    spectrum = np.abs(np.fft.fft2(light - light.mean(axis=(1, 2), keepdims=True))).mean(axis=0)
    first, second = spectrum[0, 1] + spectrum[1, 0], spectrum[0, 4] + spectrum[4, 0]
    assert 2.5 < first / second < 9, "amplitudes fall with the spatial frequency"


# --- extractors


def test_engine_reproduces_its_golden_outputs() -> None:
    golden.replay_extractor(record(), ColourEngine(), STRICT)


def test_rounding_is_tolerated() -> None:
    def add_noise(outputs: dict[str, Floats]) -> None:
        outputs[POOLED] *= np.random.default_rng(0).normal(1, 0.001, outputs[POOLED].shape).astype(np.float32)

    golden.replay_extractor(record(), ChangedEngine(add_noise), STRICT)


def reverse_one_row(outputs: dict[str, Floats]) -> None:
    outputs[POOLED][5] = outputs[POOLED][5, ::-1]


def set_nan(outputs: dict[str, Floats]) -> None:
    outputs[POOLED][0, 0] = np.nan


def set_zero(outputs: dict[str, Floats]) -> None:
    outputs[POOLED][:] = 0


@pytest.mark.parametrize("change", [reverse_one_row, set_nan, set_zero])
def test_different_features_of_one_image_are_rejected(change: Callable[[dict[str, Floats]], None]) -> None:
    with pytest.raises(
        GoldenMismatch, match=r"changed:float32 does not reproduce the stored features .*: cosine .*0\.999"
    ):
        golden.replay_extractor(record(), ChangedEngine(change), STRICT)


@pytest.fixture
def one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run all golden images at once, so that an engine can change some of them."""
    monkeypatch.setattr(golden, "_BATCH", golden.IMAGE_COUNT)


@pytest.mark.usefixtures("one_batch")
def test_different_top_classes_are_rejected() -> None:
    def reverse_tops(outputs: dict[str, Floats]) -> None:
        outputs["colour"][:4] = outputs["colour"][:4, ::-1]

    with pytest.raises(GoldenMismatch, match=r"on only 9\d% of the golden images \(required: 98%\)"):
        golden.replay_extractor(record(), ChangedEngine(reverse_tops), STRICT)
    golden.replay_extractor(record(), ChangedEngine(reverse_tops), Agreement(min_cosine=0.999, min_top1=0.9))


def rotate(angle: float) -> Callable[[dict[str, Floats]], None]:
    """Turn the features of every image by an angle, without changing their length."""

    def change(outputs: dict[str, Floats]) -> None:
        features = outputs[POOLED].astype(np.float64)
        across = np.random.default_rng(0).normal(size=features.shape)
        across -= features * (across * features).sum(1, keepdims=True) / (features**2).sum(1, keepdims=True)
        across *= np.linalg.norm(features, axis=1, keepdims=True) / np.linalg.norm(across, axis=1, keepdims=True)
        outputs[POOLED] = (np.cos(angle) * features + np.sin(angle) * across).astype(np.float32)

    return change


def rotate_one(angle: float) -> Callable[[dict[str, Floats]], None]:
    def change(outputs: dict[str, Floats]) -> None:
        others = outputs[POOLED][1:].copy()
        rotate(angle)(outputs)
        outputs[POOLED][1:] = others

    return change


COSINE = 0.99
WITHIN, BEYOND = np.arccos(COSINE + 0.001), np.arccos(COSINE - 0.001)


def test_cosine_of_one_image_decides() -> None:
    required = Agreement(min_cosine=COSINE, min_top1=0)
    golden.replay_extractor(record(), ChangedEngine(rotate_one(WITHIN)), required)
    with pytest.raises(GoldenMismatch, match=r": cosine similarity 0\.98\d+ \(required: 0\.99\)"):
        golden.replay_extractor(record(), ChangedEngine(rotate_one(BEYOND)), required)


def test_mean_cosine_decides() -> None:
    required = Agreement(min_cosine=0, mean_cosine=COSINE, min_top1=0)
    golden.replay_extractor(record(), ChangedEngine(rotate(WITHIN)), required)
    with pytest.raises(GoldenMismatch, match=r"mean cosine similarity 0\.98\d+ \(required: 0\.99\)"):
        golden.replay_extractor(record(), ChangedEngine(rotate(BEYOND)), required)
    golden.replay_extractor(record(), ChangedEngine(rotate_one(BEYOND)), required)


@pytest.mark.usefixtures("one_batch")
def test_each_wrong_top_class_counts() -> None:
    def reverse(count: int) -> ChangedEngine:
        def change(outputs: dict[str, Floats]) -> None:
            top = outputs["colour"]
            changed = np.flatnonzero(top[:, ::-1].argmax(1) != top.argmax(1))[:count]
            top[changed] = top[changed, ::-1]

        return ChangedEngine(change)

    assert golden.measure_agreement(record(), reverse(4)).min_top1 == 1 - 4 / golden.IMAGE_COUNT
    required = Agreement(min_cosine=0, min_top1=1 - 4 / golden.IMAGE_COUNT)
    golden.replay_extractor(record(), reverse(4), required)
    with pytest.raises(GoldenMismatch, match="of the golden images"):
        golden.replay_extractor(record(), reverse(5), required)


def test_golden_outputs_of_other_images_can_be_replayed() -> None:
    """Extractors made by earlier versions have other images in their files."""
    images = np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3), np.uint8)
    outputs = ColourEngine().run(images)
    buffer = io.BytesIO()
    tops = {f"top_class_{name}": value.argmax(axis=1) for name, value in outputs.items() if name != POOLED}
    np.savez(buffer, images=images, pooled=outputs[POOLED].astype(np.float16), **tops)
    golden.replay_extractor(buffer.getvalue(), ColourEngine(), STRICT)


def _replace(golden_file: bytes, **arrays: np.ndarray[Any, Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **{**np.load(io.BytesIO(golden_file)), **arrays})
    return buffer.getvalue()


def test_recorded_images_are_small_and_enlarged_as_they_were() -> None:
    received: list[Pixels] = []

    @dataclass
    class RecordingEngine:
        name: str = "recording:float32"

        def run(self, batch: Pixels) -> Outputs:
            received.append(batch)
            return ColourEngine().run(batch)

    golden_file = golden.record_extractor(RecordingEngine(), 224)
    assert len(golden_file) < 1_200_000
    golden.replay_extractor(golden_file, RecordingEngine(), STRICT)
    recorded, replayed = np.split(np.concatenate(received), 2)
    assert max(map(len, received)) == 8, "an engine keeps the memory of its largest batch"
    assert np.array_equal(recorded, golden.synthetic_images(224))
    assert np.array_equal(replayed, recorded)


@pytest.mark.parametrize("size", [-1, 0, 41, 2**31 - 1])
def test_size_that_is_never_recorded_is_rejected(size: int) -> None:
    with pytest.raises(GoldenMismatch, match="cannot be read"):
        golden.measure_agreement(_replace(record(), size=np.full(64, size)), ColourEngine())
    golden.measure_agreement(_replace(record(), size=np.full(64, 40)), ColourEngine())


def test_top_without_golden_outputs_is_rejected() -> None:
    def add_top(outputs: dict[str, Floats]) -> None:
        outputs["another"] = outputs["colour"]

    with pytest.raises(GoldenMismatch, match="stored predictions"):
        golden.replay_extractor(record(), ChangedEngine(add_top), STRICT)


@pytest.mark.parametrize("damaged", [b"", b"PK\x03\x04", b"garbage", b"\x93NUMPY", record()[:-50]], ids=range(5))
def test_unreadable_golden_outputs_are_rejected(damaged: bytes) -> None:
    with pytest.raises(GoldenMismatch, match="cannot be read"):
        golden.replay_extractor(damaged, ColourEngine(), STRICT)
    with pytest.raises(GoldenMismatch, match="cannot be read"):
        golden.replay_head(damaged, head())


def test_golden_outputs_of_another_kind_are_rejected() -> None:
    with pytest.raises(GoldenMismatch, match="cannot be read"):
        golden.replay_head(record(), head())


# --- heads


def head(temperature: float = 1.5, C: float = 1.0) -> Head:  # noqa: N803 -- as scikit-learn calls it
    images, labels = colour_images()
    return Head(Logistic(kind="logistic", C=C).fit(mean_colours(images), labels, seed=0), temperature)


def test_head_reproduces_its_golden_outputs() -> None:
    golden.replay_head(golden.record_head(head(), mean_colours(colour_images()[0])), head())


@pytest.mark.parametrize("other", [head(temperature=1.51), head(C=1.01)], ids=["temperature", "fit"])
def test_slightly_different_head_is_rejected(other: Head) -> None:
    with pytest.raises(GoldenMismatch, match="The head does not reproduce its stored probabilities"):
        golden.replay_head(golden.record_head(head(), mean_colours(colour_images()[0])), other)


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays: arrays.pop("features"),
        lambda arrays: arrays.update(features=arrays["features"][:0], probabilities=arrays["probabilities"][:0]),
        lambda arrays: arrays.update(probabilities=arrays["probabilities"][:1]),
        lambda arrays: arrays.update(features=arrays["features"][0]),
        lambda arrays: arrays.update(probabilities=arrays["probabilities"][:, 0]),
        lambda arrays: arrays.update(features=arrays["features"].astype(str)),
    ],
    ids=["missing", "empty", "fewer", "one image", "one class", "text"],
)
def test_golden_outputs_of_another_shape_are_rejected(change: Callable[[dict[str, Any]], None]) -> None:
    recorded = golden.record_head(head(), mean_colours(colour_images()[0]))
    with np.load(io.BytesIO(recorded)) as archive:
        arrays = dict(archive)
    change(arrays)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    with pytest.raises(GoldenMismatch, match="The golden outputs cannot be read"):
        golden.replay_head(buffer.getvalue(), head())


@dataclass
class ShiftedEstimator:
    """An estimator that returns its features as probabilities, shifted by a constant."""

    shift: float = 0.0

    def predict_proba(self, features: Floats) -> Floats:
        return (features + np.float32(self.shift)).astype(np.float32)


def test_heads_may_differ_by_less_than_1e_5() -> None:
    probabilities = np.eye(4, dtype=np.float32)
    recorded = golden.record_head(Head(ShiftedEstimator()), probabilities)
    golden.replay_head(recorded, Head(ShiftedEstimator(0.8e-5)))
    with pytest.raises(GoldenMismatch, match=r"they differ by up to 1\.\de-05 \(allowed: 1e-05\)"):
        golden.replay_head(recorded, Head(ShiftedEstimator(1.3e-5)))


class NanEstimator:
    def predict_proba(self, features: Floats) -> Floats:
        return np.full((len(features), 4), np.nan, np.float32)


class OneClassEstimator:
    def predict_proba(self, features: Floats) -> Floats:
        return np.full((len(features), 1), 1, np.float32)


class UnfittedEstimator:
    def predict_proba(self, features: Floats) -> Floats:
        raise AttributeError("coef_")


@pytest.mark.parametrize(
    "estimator",
    [NanEstimator(), OneClassEstimator(), UnfittedEstimator()],
    ids=lambda estimator: type(estimator).__name__,
)
def test_failing_head_is_rejected(estimator: NanEstimator | OneClassEstimator | UnfittedEstimator) -> None:
    with pytest.raises(GoldenMismatch, match="The head"):
        golden.replay_head(golden.record_head(head(), mean_colours(colour_images()[0])), Head(estimator))


def test_engines_of_these_tests_are_runners() -> None:
    engines: list[Runner] = [ColourEngine(), ChangedEngine(set_zero)]
    assert all(engine.name for engine in engines)
