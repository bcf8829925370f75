"""Classification of image files, in batches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from models.offline.predict import classify_files
from models.preprocess import PreprocessSpec
from tests.support.colour_engine import ColourEngine
from tests.support.fake_classifiers import fake_classifier, fake_extractor
from tests.support.images import encode, noise


@pytest.mark.parametrize(("side", "batch_sizes"), [(32, [128, 128, 4]), (298, [32] * 8 + [4])])
def test_batch_size_depends_on_the_image_size(tmp_path: Path, side: int, batch_sizes: list[int]) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encode(noise(8, 8), "PNG"))
    engine = ColourEngine()
    classifier = fake_classifier(fake_extractor(engine=engine))
    manifest = classifier.manifest.model_copy(update={"preprocess": PreprocessSpec(size=side)})
    paths = {str(number): path for number in range(260)}
    broken: dict[str, str] = {}
    results = classify_files(replace(classifier, manifest=manifest), paths, broken.__setitem__)
    assert [name for name, _ in results] == list(paths)
    assert (engine.batch_sizes, broken) == (batch_sizes, {})
