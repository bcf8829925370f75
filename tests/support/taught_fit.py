"""A small network that is taught by another one: images in a flat folder without labels, teacher and recipe.

The network has a unit whose gradient is not finite for a black image, so that steps with one are skipped.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from models import networks
from models.artifacts import golden
from models.artifacts.store import ExtractorArtifact, Store
from models.engines.tensorflow import TensorFlowEngine
from models.manifests import CARD_FILE, GOLDEN_FILE, SEEN_FILE, WEIGHTS_FILE, Agreement, ExtractorManifest
from models.networks import Tensors
from models.preprocess import PreprocessSpec
from tests.support import tiny_fit
from tests.support.manifests import extractor_manifest
from training.data.dataset import load_dataset
from training.evaluation.seen import UNRECORDED, SeenImages
from training.extractor.openvino_export import convert_graph, export_float16
from training.network.fit import fit_network
from training.partition.partition import Partition
from training.recipes.data import DatasetSpec
from training.recipes.network import Network, Task, Teacher

if TYPE_CHECKING:
    import keras

SIZE, TEACHER_SIZE, SOURCE = 32, 40, 24
CLASSES = ("blue", "green", "red")
TEACHER = "colour_teacher"
TAUGHT_BY = Teacher(name=TEACHER, output="colour", top="taught")
FITTED = "published weights"
"""Initial weights of the teacher whose images are not recorded."""
NOTICE = "Copyright of the published weights."

UNLABELLED = Task(
    top="noise",
    data=DatasetSpec(path="noise", train="", test=""),
    preprocess=PreprocessSpec(size=SIZE, source=SOURCE),
    batch=8,
    loss_weight=0,
    teacher_weight=1,
    smallest_area=0.6,
)


def network(*tasks: Task, architecture: str = "small_cnn", keep_top: bool = True, **fit: object) -> Network:
    """Return a network that is taught on the images without labels, unless other tasks are given."""
    recipe = tiny_fit.network(dropout=0.0, **fit)
    teacher = TAUGHT_BY.model_copy(update={"keep_top": keep_top})
    changes = {"tasks": tasks or (UNLABELLED,), "teacher": teacher, "architecture": architecture}
    return Network.model_validate(recipe.model_copy(update=changes).model_dump())


def write(folder: Path, *, count: int = 120, black: int = 0) -> None:
    """Write noise with one brighter channel, 24 x 24 pixels, and some black images, as FOLDER/noise/NUMBER.png."""
    random = np.random.default_rng(8)
    (folder / "noise").mkdir(parents=True)
    for number in range(count):
        image = random.integers(0, 128, (SOURCE, SOURCE, 3), dtype=np.uint8)
        image[..., number % 3] += 100
        Image.fromarray(image if number >= black else np.zeros_like(image)).save(folder / "noise" / f"{number:03}.png")


def load(folder: Path, task: Task = UNLABELLED) -> Partition:
    """Return the partition of a task's dataset; no two of its images look alike."""
    return Partition(load_dataset(task.data, folder / task.data.path, labelled=task.is_labelled))


def save_teacher(store: Store, tensors: Tensors) -> ExtractorArtifact:
    """Save a network with the top `colour`, for TensorFlow and OpenVINO."""
    contents = {WEIGHTS_FILE: networks.to_bytes(tensors)}
    fields = {"name": TEACHER, "input_size": TEACHER_SIZE, "tops": {"colour": CLASSES}}
    engine = TensorFlowEngine("float32", extractor_manifest({}, **fields), contents.__getitem__, threads=1)
    contents |= export_float16(convert_graph(engine)) | {
        GOLDEN_FILE: golden.record_extractor(engine, TEACHER_SIZE),
        CARD_FILE: b"# Teacher",
        SEEN_FILE: SeenImages({"fit.network": np.array([7], np.uint64)}).to_npz(),
    }
    engines = dict.fromkeys(("openvino:float32", "tensorflow:float32"), Agreement(min_cosine=0.9999, min_top1=0.98))
    fields |= {"engines": engines, "outputs": {"pooled": 64, "colour": 3}}
    fields |= {"fitted_on": {UNRECORDED: [FITTED], "notice": NOTICE}}
    return store.add(
        ExtractorManifest, TEACHER, lambda version: (extractor_manifest(contents, version=version, **fields), contents)
    )


def fit_teacher(folder: Path) -> Tensors:
    """Fit a small network on the colours of `tiny_fit`, at the teacher's size."""
    tiny_fit.write(folder / "labelled")
    (colours, _), (partition, _) = tiny_fit.network().tasks, tiny_fit.load(folder / "labelled")
    task = colours.model_copy(
        update={"top": "colour", "preprocess": PreprocessSpec(size=TEACHER_SIZE, source=SOURCE), "classes": CLASSES}
    )
    dataset = load_dataset(task.data, partition.dataset.root, CLASSES)
    recipe = tiny_fit.network(passes=8).model_copy(update={"size": TEACHER_SIZE, "tasks": (task,)})
    return fit_network(recipe, 1, [Partition(dataset)], None, folder / "cache").tensors


def network_with_root(size: int | None) -> keras.Model:
    """Build two branches: batch normalization, and a square root whose gradient at 0 (a black image) is not finite."""
    import keras
    from keras import layers

    pixels = keras.Input((size, size, 3))
    normalized = layers.Conv2D(8, 3, strides=2, use_bias=False)(pixels)
    normalized = layers.BatchNormalization(scale=False)(normalized)
    normalized = layers.GlobalAveragePooling2D()(layers.Activation("relu")(normalized))
    brightness = layers.GlobalAveragePooling2D()(pixels + 1.0)
    absolute = keras.ops.sqrt(keras.ops.square(layers.Dense(4, use_bias=False)(brightness)))
    return keras.Model(pixels, layers.Concatenate()([normalized, absolute]), name="with_root")
