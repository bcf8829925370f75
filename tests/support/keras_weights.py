"""Weight files in the format of keras.applications, and a server for them.

`inception_v3_weights_tf_dim_ordering_tf_kernels.h5` was written by Keras 2. It has the attributes `layer_names`,
`backend` and `keras_version`, and for each layer, even without weights, a group with the attribute `weight_names` and
the tensors, such as `conv2d_1/kernel:0`. Names end in numbers from 1. The file contains nothing else.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from models import networks
from models.artifacts import golden
from training.runtime.download import RemoteFile

if TYPE_CHECKING:
    import keras

WEIGHTS_FILE = "inception_v3_weights_tf_dim_ordering_tf_kernels.h5"
INDEX_FILE = "imagenet_class_index.json"
CRANES = {134: "n02012849", 517: "n03126707"}


@dataclass(frozen=True, eq=False)
class Distributed:
    """A folder with the files that Keras distributes, and the network whose weights they contain."""

    folder: Path
    network: keras.Model

    @property
    def weights(self) -> Path:
        return self.folder / WEIGHTS_FILE

    @property
    def index(self) -> Path:
        return self.folder / INDEX_FILE


def distribute(folder: Path, model: keras.Model) -> Distributed:
    """Write the files of a network of 1,000 classes in the format that Keras distributes."""
    write_weights(model, folder / WEIGHTS_FILE)
    write_index(folder / INDEX_FILE)
    return Distributed(folder, model)


def network(seed: int = 0) -> keras.Model:
    """Build ImageNet's InceptionV3 with random weights whose predictions differ between images.

    Its kernels are rounded to float16, the precision of the store: rounding shifts the probabilities of an untrained
    network by 0.04, which would hide other errors.
    """
    import keras

    keras.utils.set_random_seed(seed)
    model = keras.applications.InceptionV3(weights=None)
    normalizations = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for layer in normalizations:
        layer.momentum = 0  # use the statistics of this one batch, so that features are neither huge nor zero
    images = networks.scale(golden.synthetic_images(299, 16, seed))
    model(images, training=True)
    for layer in normalizations:
        layer.momentum = 0.99
    scores = np.log(np.asarray(model(images, training=False)))
    scores -= scores.mean(axis=1, keepdims=True)
    top, factor = model.get_layer("predictions"), 2 / (scores - scores.mean(axis=0)).std()
    top.kernel.assign(top.kernel * factor)
    top.bias.assign(-factor * scores.mean(axis=0))
    for layer in model.layers:
        if hasattr(layer, "kernel"):
            layer.kernel.assign(layer.kernel.numpy().astype(np.float16))
    return model


def write_weights(model: keras.Model, path: Path) -> None:
    """Write the weights of a model in the format of Keras 2."""
    with h5py.File(path, "w") as file:
        names = {layer.name: _keras_2_name(layer.name) for layer in model.layers}
        file.attrs["layer_names"] = [name.encode() for name in names.values()]
        file.attrs["backend"] = b"tensorflow"
        file.attrs["keras_version"] = b"2.0.5"
        for layer in model.layers:
            group = file.create_group(names[layer.name])
            weights = [f"{names[layer.name]}/{variable.name}:0" for variable in layer.weights]
            group.attrs["weight_names"] = [name.encode() for name in weights]
            for name, values in zip(weights, layer.get_weights(), strict=True):
                group.create_dataset(name, data=values)


def write_index(path: Path) -> None:
    """Write an imagenet_class_index.json of 1,000 entries; two are called `crane` as in ImageNet."""
    index = {str(i): [CRANES.get(i, f"n{i:08}"), "crane" if i in CRANES else f"great_thing_{i}"] for i in range(1000)}
    path.write_text(json.dumps(index))


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve the files of a folder; yield the address and the list of requested paths."""
    requested_paths: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            requested_paths.append(self.path.removeprefix("/"))
            super().do_GET()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", requested_paths
        finally:
            server.shutdown()
            thread.join()


def remote(url: str, file: Path) -> RemoteFile:
    """Return the URL and the MD5 of a file in a served folder."""
    return RemoteFile(f"{url}/{file.name}", hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest())


def _keras_2_name(name: str) -> str:
    numbered = re.fullmatch(
        r"(conv2d|batch_normalization|activation|concatenate|average_pooling2d|max_pooling2d)(_\d+)?", name
    )
    if numbered is None:
        return {"input_layer": "input_1"}.get(name, name)
    return f"{numbered[1]}_{int((numbered[2] or '_0')[1:]) + 1}"
