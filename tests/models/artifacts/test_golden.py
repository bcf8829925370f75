from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from models.arrays import Pixels
from models.artifacts import golden
from models.engines.base import Outputs, Runner
from models.errors import GoldenMismatch
from models.heads import Floats, Head
from models.manifests import Agreement
from models.networks import POOLED
from tests.support.tiny_models import ColourEngine, mean_colours, pictures
from training.estimators.heads import Logistic

STRICT = Agreement(min_cosine=0.999, min_top1=0.98)


@dataclass
class Differing:
    """An engine whose outputs went wrong on the way."""

    wrong: Callable[[dict[str, Floats]], None]
    name: str = "differing:float32"

    def run(self, batch: Pixels) -> Outputs:
        outputs = {name: value.copy() for name, value in ColourEngine().run(batch).items()}
        self.wrong(outputs)
        return outputs


def record() -> bytes:
    return golden.record_extractor(ColourEngine(), 32)


# --- pictures


def test_the_pictures_are_the_same_for_the_same_seed() -> None:
    first = golden.synthetic_images(96, 4)
    assert first.shape == (4, 96, 96, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, golden.synthetic_images(96, 4))
    assert not np.array_equal(first, golden.synthetic_images(96, 4, seed=1))


def test_the_pictures_are_many_and_differ() -> None:
    drawn = golden.synthetic_images(32)
    assert len(drawn) == golden.IMAGES >= 64, "agreement of top classes is promised over at least 64 pictures"
    assert len({picture.tobytes() for picture in drawn}) == len(drawn)
    assert min(picture.std() for picture in drawn) > 5, "a picture without content proves nothing"


# --- extractors


def test_an_engine_repeats_what_it_recorded() -> None:
    golden.replay_extractor(record(), ColourEngine(), STRICT)


def test_rounding_is_tolerated() -> None:
    def shaken(outputs: dict[str, Floats]) -> None:
        outputs[POOLED] *= np.random.default_rng(0).normal(1, 0.001, outputs[POOLED].shape).astype(np.float32)

    golden.replay_extractor(record(), Differing(shaken), STRICT)


def one_row_is_another(outputs: dict[str, Floats]) -> None:
    outputs[POOLED][5] = outputs[POOLED][5, ::-1]


def not_a_number(outputs: dict[str, Floats]) -> None:
    outputs[POOLED][0, 0] = np.nan


def nothing(outputs: dict[str, Floats]) -> None:
    outputs[POOLED][:] = 0


@pytest.mark.parametrize("wrong", [one_row_is_another, not_a_number, nothing])
def test_other_features_are_refused_even_of_a_single_picture(wrong: Callable[[dict[str, Floats]], None]) -> None:
    with pytest.raises(GoldenMismatch, match=r"differing:float32 does not repeat the stored features: cosine .*0\.999"):
        golden.replay_extractor(record(), Differing(wrong), STRICT)


def test_other_top_classes_are_refused() -> None:
    def turned(outputs: dict[str, Floats]) -> None:
        outputs["colour"][:4] = outputs["colour"][:4, ::-1]

    with pytest.raises(GoldenMismatch, match=r"9\d% of top classes agree, at least 98% are needed"):
        golden.replay_extractor(record(), Differing(turned), STRICT)
    golden.replay_extractor(record(), Differing(turned), Agreement(min_cosine=0.999, min_top1=0.9))


def test_a_top_that_was_never_recorded_is_refused() -> None:
    def one_more(outputs: dict[str, Floats]) -> None:
        outputs["another"] = outputs["colour"]

    with pytest.raises(GoldenMismatch, match="stored answers"):
        golden.replay_extractor(record(), Differing(one_more), STRICT)


@pytest.mark.parametrize("damaged", [b"", b"PK\x03\x04", b"garbage", b"\x93NUMPY", record()[:-50]], ids=range(5))
def test_golden_outputs_that_cannot_be_read_are_refused(damaged: bytes) -> None:
    with pytest.raises(GoldenMismatch, match="cannot be read"):
        golden.replay_extractor(damaged, ColourEngine(), STRICT)
    with pytest.raises(GoldenMismatch, match="cannot be read"):
        golden.replay_head(damaged, head())


def test_golden_outputs_of_the_other_kind_are_refused() -> None:
    with pytest.raises(GoldenMismatch, match="cannot be read"):
        golden.replay_head(record(), head())


# --- heads


def head(temperature: float = 1.5, C: float = 1.0) -> Head:  # noqa: N803 -- as scikit-learn calls it
    images, labels = pictures()
    return Head(Logistic(kind="logistic", C=C).fit(mean_colours(images), labels, seed=0), temperature)


def test_a_head_repeats_what_it_recorded() -> None:
    golden.replay_head(golden.record_head(head(), mean_colours(pictures()[0])), head())


@pytest.mark.parametrize("other", [head(temperature=1.51), head(C=1.01)], ids=["temperature", "fit"])
def test_a_head_that_differs_a_little_is_refused(other: Head) -> None:
    with pytest.raises(GoldenMismatch, match="The head does not repeat its stored probabilities"):
        golden.replay_head(golden.record_head(head(), mean_colours(pictures()[0])), other)


class NotANumber:
    def predict_proba(self, features: Floats) -> Floats:
        return np.full((len(features), 4), np.nan, np.float32)


class OneClassLess:
    def predict_proba(self, features: Floats) -> Floats:
        return np.full((len(features), 1), 1, np.float32)


class NeverFitted:
    def predict_proba(self, features: Floats) -> Floats:
        raise AttributeError("coef_")


@pytest.mark.parametrize("estimator", [NotANumber(), OneClassLess(), NeverFitted()], ids=lambda e: type(e).__name__)
def test_a_head_that_cannot_answer_is_refused(estimator: NotANumber | OneClassLess | NeverFitted) -> None:
    with pytest.raises(GoldenMismatch, match="The head"):
        golden.replay_head(golden.record_head(head(), mean_colours(pictures()[0])), Head(estimator))


def test_engines_of_the_tests_are_engines() -> None:
    engines: list[Runner] = [ColourEngine(), Differing(nothing)]
    assert all(engine.name for engine in engines)
