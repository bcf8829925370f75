"""Start weights: from ImageNet, a file, or nowhere; what cannot be had is one line that names the ways on."""

from __future__ import annotations

import gc
import json
import os
import pickle
import socket
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from models import networks
from models.artifacts.store import Store
from models.errors import ModelsError
from tests.support import keras_weights
from tests.support.keras_weights import CRANES, INDEX_FILE, WEIGHTS_FILE
from training.errors import TrainingError
from training.extractor import initial_weights as weights
from training.extractor.initial_weights import Downloads, Source


@pytest.fixture
def index(tmp_path: Path) -> Path:
    keras_weights.write_index(tmp_path / INDEX_FILE)
    return tmp_path / INDEX_FILE


@pytest.fixture
def keras_leaves_sockets_open() -> Iterator[None]:
    """Where a server answers with an error; they are closed here, before another test is blamed for it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        gc.collect()


def refused(network: str, file: str, downloads: Downloads | None = None) -> str:
    with pytest.raises((TrainingError, ModelsError)) as error:
        weights.load(network, file, Store(), downloads)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_random_weights_come_from_nowhere() -> None:
    assert weights.load("inception_v3", "random", Store()) is None


def test_a_safetensors_file_is_taken_as_it_is(tmp_path: Path) -> None:
    tensors = {"conv2d_0/kernel": np.ones((3, 3, 3, 8), np.float16)}
    path = tmp_path / "mine.safetensors"
    path.write_bytes(networks.to_bytes(tensors))
    start = weights.load("small_cnn", str(path), Store())
    assert start is not None
    assert np.array_equal(start.tensors["conv2d_0/kernel"], tensors["conv2d_0/kernel"])
    assert start.origin.startswith("mine.safetensors sha256:")
    assert start.tops == {}


def test_what_is_no_weights_file_is_refused(tmp_path: Path) -> None:
    assert "There is no weights file nosuch.h5. Use --weights FILE" in refused("inception_v3", "nosuch.h5")
    path = tmp_path / "mine.safetensors"
    path.write_bytes(b"no tensors")
    assert "no safetensors file" in refused("inception_v3", str(path))


@pytest.mark.parametrize("file", ["imagenet", "file.h5"])
def test_no_imagenet_weights_are_known_for_a_network_of_ours(file: str) -> None:
    assert refused("small_cnn", file).startswith("No ImageNet weights are known for small_cnn. Use a .safetensors")


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "[1, 2]",
        "{}",
        "{",
        "3",
        '{"0": 5}',
        '{"0": ["n1"]}',
        json.dumps({str(i): [i, i] for i in range(1000)}),
        "\x00",
    ],
)
def test_a_class_index_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / INDEX_FILE).write_text(content)
    (tmp_path / "mine.h5").write_bytes(b"")
    assert refused("inception_v3", str(tmp_path / "mine.h5")).endswith("is no list of ImageNet's 1000 classes.")


def test_without_a_class_index_beside_it_a_file_needs_the_network(
    tmp_path: Path, keras_leaves_sockets_open: None
) -> None:
    (tmp_path / "mine.h5").write_bytes(b"")
    nowhere = Source(f"http://127.0.0.1:{free_port()}/{INDEX_FILE}", "0" * 32)
    said = refused("inception_v3", str(tmp_path / "mine.h5"), Downloads(nowhere, nowhere, tmp_path))
    assert said.startswith(f"{INDEX_FILE} cannot be fetched (")
    assert said.endswith(f"An .h5 file needs {INDEX_FILE} beside it.")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@pytest.mark.parametrize("trouble", ["404", "wrong checksum", "no server", "no address"])
def test_a_download_that_fails_is_one_line_with_the_ways_on(
    tmp_path: Path, keras_leaves_sockets_open: None, trouble: str
) -> None:
    served, cache = tmp_path / "served", tmp_path / "cache"
    served.mkdir()
    cache.mkdir()
    with keras_weights.serving(served) as (url, _):
        if trouble == "wrong checksum":
            (served / WEIGHTS_FILE).write_bytes(b"something else")
        address = {"no server": f"http://127.0.0.1:{free_port()}", "no address": "nonsense"}.get(trouble, url)
        there = Source(f"{address}/{WEIGHTS_FILE}", "0" * 32)
        said = ""
        for _ in range(2):
            said = refused("inception_v3", "imagenet", Downloads(there, there, cache))
            assert said.startswith(f"{WEIGHTS_FILE} cannot be fetched (")
            assert said.endswith("Use --weights FILE (.safetensors, or Keras's .h5) or --weights random.")
    assert {"404": "404", "wrong checksum": "hash", "no server": "refused", "no address": "unknown url"}[
        trouble
    ] in said


class Trap:
    """Unpickled, it leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def text(path: Path, trap: Path) -> None:
    path.write_text("no HDF5 at all\nin two lines")


def of_a_network_without_its_top(path: Path, trap: Path) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"conv2d_1"]
        file.create_group("conv2d_1").attrs["weight_names"] = [b"conv2d_1/kernel:0"]
        file["conv2d_1/conv2d_1/kernel:0"] = np.zeros((3, 3, 3, 32), np.float32)


def of_a_pickle_for_each_tensor(path: Path, trap: Path) -> None:
    layers = [f"conv2d_{i}" for i in range(189)]
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in layers]
        for name in layers:
            group = file.create_group(name)
            group.attrs["weight_names"] = [b"kernel:0"]
            group["kernel:0"] = np.void(pickle.dumps(Trap(trap)))


def of_a_model_whose_configuration_runs_code(path: Path, trap: Path) -> None:
    layer = {"class_name": "Lambda", "config": {"function": f"__import__('os').mkdir({str(trap)!r})"}}
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": {"layers": [layer]}})
        file.create_group("model_weights").attrs["layer_names"] = np.array([], "S1")


@pytest.mark.parametrize(
    "write",
    [
        text,
        of_a_network_without_its_top,
        of_a_pickle_for_each_tensor,
        of_a_model_whose_configuration_runs_code,
    ],
)
def test_a_broken_or_hostile_file_is_refused_in_one_line(
    tmp_path: Path, index: Path, write: Callable[[Path, Path], None]
) -> None:
    path, trap = tmp_path / "mine.h5", tmp_path / "trap"
    write(path, trap)
    assert refused("inception_v3", str(path)).startswith(
        f"{path} does not hold Keras's weights of inception_v3 with its top ("
    )
    assert not trap.exists()


def test_the_file_that_keras_distributes_becomes_a_network_of_ours(tmp_path: Path) -> None:
    distributed = keras_weights.distribute(tmp_path, keras.applications.InceptionV3(weights=None))
    start = weights.load("inception_v3", str(distributed.weights), Store())
    assert start is not None
    names = start.tops["probabilities"]
    assert len(set(names)) == len(names) == 1000
    assert [names[i] for i in CRANES] == [f"crane ({wnid})" for wnid in CRANES.values()]
    assert names[7] == "great thing 7"
    ours = networks.build("inception_v3", 75, {"probabilities": 1000})
    networks.assign(ours, start.tensors)
    for mine, original in zip(ours.weights, distributed.network.weights, strict=True):
        assert np.allclose(mine.numpy(), original.numpy(), rtol=1e-3, atol=1e-6), original.path


def test_of_vgg19_keras_file_without_a_top_is_taken(tmp_path: Path) -> None:
    original = keras.applications.VGG19(weights=None, include_top=False)
    path = tmp_path / "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5"
    keras_weights.write_weights(original, path)
    start = weights.load("vgg19", str(path), Store())
    assert start is not None
    assert start.tops == {}, "and no list of ImageNet's classes is asked for"
    ours = networks.build("vgg19", 32, {"animal": 2})
    networks.assign(ours, start.tensors, skip_dense=True)
    for layer in original.layers:
        for mine, theirs in zip(
            ours.get_layer(layer.name).weights if layer.weights else [], layer.weights, strict=True
        ):
            assert np.allclose(mine.numpy(), theirs.numpy(), rtol=1e-3, atol=1e-6), theirs.path
    with pytest.raises(ModelsError, match=r"not of vgg19: .*kernel is missing"):
        networks.assign(ours, start.tensors)
