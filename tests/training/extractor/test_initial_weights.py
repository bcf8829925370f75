"""Initial weights from ImageNet, a file or random; each error is one line that names the alternatives."""

from __future__ import annotations

import json
import os
import pickle
import socket
from collections.abc import Callable
from functools import cache
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
from training.runtime.download import RemoteFile
from training.runtime.folders import CACHE_FOLDER


@pytest.fixture
def index(tmp_path: Path) -> Path:
    keras_weights.write_index(tmp_path / INDEX_FILE)
    return tmp_path / INDEX_FILE


def load_error(network: str, file: str, cache: Path = CACHE_FOLDER) -> str:
    with pytest.raises((TrainingError, ModelsError)) as error:
        weights.load_initial_weights(network, file, Store(), cache)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_random_weights_are_none() -> None:
    assert weights.load_initial_weights("inception_v3", "random", Store()) is None


def test_safetensors_file_is_loaded_unchanged(tmp_path: Path) -> None:
    tensors = {"conv2d_0/kernel": np.ones((3, 3, 3, 8), np.float16)}
    path = tmp_path / "mine.safetensors"
    path.write_bytes(networks.to_bytes(tensors))
    start = weights.load_initial_weights("small_cnn", str(path), Store())
    assert start is not None
    assert np.array_equal(start.tensors["conv2d_0/kernel"], tensors["conv2d_0/kernel"])
    assert start.origin.startswith("mine.safetensors sha256:")
    assert start.tops == {}


def test_missing_or_damaged_weights_file_is_rejected(tmp_path: Path) -> None:
    assert "There is no weights file nosuch.h5. Use --weights FILE" in load_error("inception_v3", "nosuch.h5")
    path = tmp_path / "mine.safetensors"
    path.write_bytes(b"no tensors")
    assert "not a readable safetensors file" in load_error("inception_v3", str(path))


@pytest.mark.parametrize("file", ["imagenet", "file.h5"])
def test_own_networks_have_no_imagenet_weights(file: str) -> None:
    assert load_error("small_cnn", file).startswith("No ImageNet weights are known for small_cnn. Use a .safetensors")


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
def test_damaged_class_index_is_rejected(tmp_path: Path, content: str) -> None:
    (tmp_path / INDEX_FILE).write_text(content)
    (tmp_path / "mine.h5").write_bytes(b"")
    assert load_error("inception_v3", str(tmp_path / "mine.h5")).endswith("is not a list of ImageNet's 1000 classes.")


def test_file_without_class_index_needs_a_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.h5").write_bytes(b"")
    url = f"http://127.0.0.1:{free_port()}/{INDEX_FILE}"
    monkeypatch.setattr(weights, "CLASS_INDEX", RemoteFile(url, "0" * 32))
    message = load_error("inception_v3", str(tmp_path / "mine.h5"), tmp_path)
    assert message.startswith(f"{url} cannot be downloaded: ")
    assert message.endswith(f"An .h5 file needs {INDEX_FILE} in the same folder.")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@pytest.mark.parametrize("trouble", ["404", "wrong checksum", "no server", "no address"])
def test_failed_download_is_one_line_with_alternatives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    served, cache = tmp_path / "served", tmp_path / "cache"
    served.mkdir()
    cache.mkdir()
    with keras_weights.serving(served) as (url, _):
        if trouble == "wrong checksum":
            (served / WEIGHTS_FILE).write_bytes(b"something else")
        address = {"no server": f"http://127.0.0.1:{free_port()}", "no address": "nonsense"}.get(trouble, url)
        monkeypatch.setitem(weights.IMAGENET, "inception_v3", RemoteFile(f"{address}/{WEIGHTS_FILE}", "0" * 32))
        message = ""
        for _ in range(2):
            message = load_error("inception_v3", "imagenet", cache)
            assert message.startswith(f"{address}/{WEIGHTS_FILE} ")
            assert message.endswith("Use --weights FILE (.safetensors, or Keras's .h5) or --weights random.")
    assert {"404": "404", "wrong checksum": "checksum", "no server": "refused", "no address": "missing an 'http://'"}[
        trouble
    ] in message


@cache
def build_inception(**options: object) -> keras.Model:
    """Build the network once for all tests that expect an error, as building it takes seconds."""
    return _INCEPTION(**options)


_INCEPTION = keras.applications.InceptionV3


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
def test_broken_or_hostile_file_is_a_one_line_error(
    tmp_path: Path, index: Path, write: Callable[[Path, Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keras.applications, "InceptionV3", build_inception)
    path, trap = tmp_path / "mine.h5", tmp_path / "trap"
    write(path, trap)
    assert load_error("inception_v3", str(path)).startswith(
        f"{path} does not contain Keras's weights of inception_v3 with its top ("
    )
    assert not trap.exists()


def test_distributed_keras_file_loads_into_our_network(tmp_path: Path) -> None:
    distributed = keras_weights.distribute(tmp_path, keras.applications.InceptionV3(weights=None))
    start = weights.load_initial_weights("inception_v3", str(distributed.weights), Store())
    assert start is not None
    names = start.tops["probabilities"]
    assert len(set(names)) == len(names) == 1000
    assert [names[i] for i in CRANES] == [f"crane ({wnid})" for wnid in CRANES.values()]
    assert names[7] == "great thing 7"
    ours = networks.build("inception_v3", 75, {"probabilities": 1000})
    networks.set_tensors(ours, start.tensors)
    for mine, original in zip(ours.weights, distributed.network.weights, strict=True):
        assert np.allclose(mine.numpy(), original.numpy(), rtol=1e-3, atol=1e-6), original.path


def test_vgg19_file_without_a_top_is_loaded(tmp_path: Path) -> None:
    original = keras.applications.VGG19(weights=None, include_top=False)
    path = tmp_path / "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5"
    keras_weights.write_weights(original, path)
    start = weights.load_initial_weights("vgg19", str(path), Store())
    assert start is not None
    assert start.tops == {}, "and no list of ImageNet's classes is asked for"
    ours = networks.build("vgg19", 32, {"animal": 2})
    networks.set_tensors(ours, start.tensors, skip_mismatched_dense=True)
    for layer in original.layers:
        for mine, theirs in zip(
            ours.get_layer(layer.name).weights if layer.weights else [], layer.weights, strict=True
        ):
            assert np.allclose(mine.numpy(), theirs.numpy(), rtol=1e-3, atol=1e-6), theirs.path
    with pytest.raises(ModelsError, match=r"do not match vgg19: .*kernel is missing"):
        networks.set_tensors(ours, start.tensors)
