"""An extractor as OpenVINO's own file, as it is or with 8-bit weights and activations."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import nncf
import openvino as ov

from models.arrays import Pixels
from models.engines.tensorflow import TensorFlowEngine
from models.manifests import OPENVINO_FLOAT, OPENVINO_INT8


def convert(reference: TensorFlowEngine) -> ov.Model:
    """The graph of a TensorFlow engine: uint8 [n, size, size, 3] -> the extractor's outputs."""
    return ov.convert_model(reference.graph)


def int8(network: ov.Model, samples: Pixels) -> dict[str, bytes]:
    """A network's files after post-training quantisation by NNCF: symmetric ranges and corrected biases, from samples.

    Args:
        network: from `convert`; stays as it is.
        samples: some hundred images as the network gets them, uint8 [n, size, size, 3].
    """
    nncf.set_log_level(logging.ERROR)
    quantised = nncf.quantize(
        network,
        nncf.Dataset([image[None] for image in samples]),
        preset=nncf.QuantizationPreset.PERFORMANCE,
        fast_bias_correction=False,  # the fast one costs InceptionV3 0.3 to 0.5 points on Tiny-ImageNet
        subset_size=len(samples),
    )
    return _written(quantised, OPENVINO_INT8)


def float16(network: ov.Model) -> dict[str, bytes]:
    """A network's files with weights as float16, as they are in the weights file."""
    return _written(network, OPENVINO_FLOAT)


def _written(network: ov.Model, names: tuple[str, str]) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        ov.save_model(network, Path(folder) / names[0], compress_to_fp16=True)
        return {name: (Path(folder) / name).read_bytes() for name in names}
