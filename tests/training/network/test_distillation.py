"""Knowledge distillation: a network learns to agree with a teacher, on images with and without labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models import networks
from models.artifacts.store import Store
from models.errors import ModelNotFound
from models.preprocess import to_input
from tests.support import taught_fit, tiny_fit
from training.errors import RecipeError
from training.network.fit import FitResult, fit_key, fit_network
from training.network.images.batches import DatasetShare, LabelledImages
from training.network.teacher import Teacher, load_teacher
from training.partition.partition import HOLDOUT


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("taught")
    taught_fit.write(folder)
    taught_fit.save_teacher(Store(folder / "store"), taught_fit.fit_teacher(folder))
    return folder


@pytest.fixture(scope="module")
def teacher(folder: Path) -> Teacher:
    return load_teacher(taught_fit.TAUGHT_BY, Store(folder / "store"))


@pytest.fixture(scope="module")
def taught(folder: Path, teacher: Teacher) -> FitResult:
    network = taught_fit.network(passes=8)
    return fit_network(network, 3, [taught_fit.load(folder)], None, folder / "cache", teacher=teacher)


def test_teacher_runs_on_the_engine_that_serves(teacher: Teacher) -> None:
    assert teacher.engine.name == "openvino:float32"
    pixels = np.random.default_rng(0).integers(0, 256, (5, teacher.size, teacher.size, 3), dtype=np.uint8)
    probabilities = teacher.probabilities(pixels)
    assert probabilities.shape == (5, 3)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


def test_network_learns_to_agree_with_its_teacher_without_labels(taught: FitResult, folder: Path) -> None:
    measured = [record for record in taught.history if record.is_measured]
    assert [round(record.passes) for record in measured] == list(range(9))
    before, after = ((record.teacher or {})["noise"] for record in (measured[0], measured[-1]))
    assert before.images == after.images == taught_fit.load(folder).count(HOLDOUT) == 6
    assert before.agreement < 1
    assert after.agreement == 1.0
    assert 0 <= after.divergence < before.divergence / 10
    assert measured[-1].holdout == {}, "nothing is measured by labels"


def test_loss_of_images_without_labels_is_the_divergence_alone(taught: FitResult) -> None:
    fitted = [record for record in taught.history if record.step]
    assert all(record.loss == {} and set(record.teacher_loss or {}) == {"noise"} for record in fitted)
    first, last = ((record.teacher_loss or {})["noise"] for record in (fitted[0], fitted[-1]))
    assert 0 <= last < first / 2


def test_labels_and_teacher_are_fitted_together(folder: Path, teacher: Teacher) -> None:
    (colours, stripes), partitions = tiny_fit.network().tasks, tiny_fit.load(folder / "labelled")
    colours = colours.model_copy(update={"teacher_weight": 0.5})
    network = taught_fit.network(colours, stripes, taught_fit.UNLABELLED, passes=6, parts=2)
    everything = [*partitions, taught_fit.load(folder)]
    result = fit_network(network, 3, everything, None, folder / "cache", teacher=teacher)
    last = result.history[-1]
    assert last.holdout is not None
    assert last.teacher is not None
    assert {top: metrics.accuracy > 0.9 for top, metrics in last.holdout.items()} == {"colours": True, "stripes": True}
    assert {top: metrics.agreement > 0.8 for top, metrics in last.teacher.items()} == {"colours": True, "noise": True}
    assert {"colours/kernel", "stripes/kernel", "taught/kernel"} <= set(result.tensors)
    assert not any(name.startswith("noise/") for name in result.tensors)


class _RecordingTeacher(Teacher):
    """Remembers the images that reach the teacher."""

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        self.__dict__["seen"] = pixels
        return super().probabilities(pixels)


def test_same_crop_and_flip_reach_network_and_teacher(teacher: Teacher) -> None:
    side, positions = taught_fit.SOURCE, np.arange(taught_fit.SOURCE) * 10
    gradient = np.stack(np.broadcast_arrays(positions[:, None], positions[None], 99), axis=-1).astype(np.uint8)
    spy = _RecordingTeacher(teacher.artifact, teacher.engine, teacher.output)
    spec = taught_fit.UNLABELLED.preprocess
    images = LabelledImages(gradient[None], np.zeros(1, np.int64), np.zeros(1, np.int64), spec, spy)
    share = DatasetShare(images, batch=8, crop_border=2, flip=True, smallest_area=0.2)
    pixels, _, outputs = share.images_at(0, (5, 0))
    seen = spy.__dict__["seen"]
    assert pixels.shape == (8, taught_fit.SIZE, taught_fit.SIZE, 3)
    assert seen.shape == (8, taught_fit.TEACHER_SIZE, taught_fit.TEACHER_SIZE, 3)
    np.testing.assert_array_equal(outputs, teacher.probabilities(seen))
    for own, of_teacher in zip(pixels, seen, strict=True):
        # The colours of this image are positions, so equal ranges are the same part of it.
        for channel in (0, 1):
            np.testing.assert_allclose(_corners(own, channel), _corners(of_teacher, channel), atol=10)
    assert len({_corners(own, 1).tobytes() for own in pixels}) > 4, "they are different crops"
    assert side == len(gradient)


def _corners(image: np.ndarray, channel: int) -> np.ndarray:
    return image[[0, 0, -1, -1], [0, -1, 0, -1], channel].astype(int)


def test_images_to_measure_reach_the_teacher_whole(folder: Path, teacher: Teacher) -> None:
    source = np.random.default_rng(0).integers(0, 256, (1, taught_fit.SOURCE, taught_fit.SOURCE, 3), dtype=np.uint8)
    spec = taught_fit.UNLABELLED.preprocess
    images = LabelledImages(source, np.zeros(1, np.int64), np.zeros(1, np.int64), spec, teacher)
    (chunk,) = images.chunks(4)
    at_teacher_size = to_input(source[0], spec.model_copy(update={"size": teacher.size}))
    np.testing.assert_array_equal(chunk.teacher, teacher.probabilities(at_teacher_size[None]))


def test_each_setting_of_the_teacher_changes_the_folder_of_the_checkpoints(folder: Path, teacher: Teacher) -> None:
    network, sets = taught_fit.network(), [taught_fit.load(folder)]
    assert network.teacher is not None
    warmer = network.model_copy(update={"teacher": network.teacher.model_copy(update={"temperature": 4})})
    files = teacher.manifest.files | {"weights.safetensors": "0" * 64}
    changed = teacher.manifest.model_copy(update={"files": files})
    other = replace(teacher, artifact=replace(teacher.artifact, manifest=changed))
    keys = [
        fit_key(network, 3, sets, None, teacher),
        fit_key(warmer, 3, sets, None, teacher),
        fit_key(network, 3, sets, None, other),
    ]
    assert len(set(keys)) == len(keys)
    without_top = taught_fit.network(keep_top=False)
    assert fit_key(without_top, 3, sets, None, teacher) == keys[0], "it only affects what is saved"


def test_averaged_weights_are_returned_and_measured(folder: Path, teacher: Teacher, taught: FitResult) -> None:
    sets, cache = [taught_fit.load(folder)], folder / "cache"
    averaged = fit_network(taught_fit.network(passes=8, ema_momentum=0.9), 3, sets, None, cache, teacher=teacher)
    assert averaged.history[:-1] != taught.history, "it is another fit"
    name = "taught/kernel"
    assert not np.array_equal(averaged.tensors[name], taught.tensors[name])
    again = fit_network(taught_fit.network(passes=8, ema_momentum=0.9), 3, sets, None, cache, teacher=teacher)
    np.testing.assert_array_equal(again.tensors[name], averaged.tensors[name])
    start = fit_network(taught_fit.network(passes=0.1), 3, sets, averaged.tensors, cache, teacher=teacher).history[0]
    assert averaged.kept_record is not None
    measured, kept = ((record.teacher or {})["noise"] for record in (start, averaged.kept_record))
    assert measured.divergence == pytest.approx(kept.divergence, abs=0.005), "except for rounding to float16"


def test_teacher_that_is_missing_or_has_no_such_top_is_an_error(folder: Path) -> None:
    store, recipe = Store(folder / "store"), taught_fit.TAUGHT_BY
    with pytest.raises(ModelNotFound, match="no extractor elsewhere"):
        load_teacher(recipe.model_copy(update={"name": "elsewhere"}), store)
    with pytest.raises(RecipeError, match="no top 'probabilities'"):
        load_teacher(recipe.model_copy(update={"output": "probabilities"}), store)


def test_fitted_tensors_have_the_top_of_the_teacher(taught: FitResult) -> None:
    model = networks.build("small_cnn", taught_fit.SIZE, {"taught": 3})
    networks.set_tensors(model, taught.tensors)
    assert networks.get_tensors(model).keys() == taught.tensors.keys()
