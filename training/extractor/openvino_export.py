"""Exports an extractor to OpenVINO's file format, with float weights or quantized to 8 bits."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import nncf
import openvino as ov

from models.arrays import Pixels
from models.engines.tensorflow import TensorFlowEngine
from models.manifests import OPENVINO_FLOAT, OPENVINO_INT8


def convert_graph(reference: TensorFlowEngine) -> ov.Model:
    """Convert the graph of a TensorFlow engine: uint8 [n, size, size, 3] -> the extractor's outputs."""
    return ov.convert_model(reference.graph)


def export_int8(graph: ov.Model, samples: Pixels) -> dict[str, bytes]:
    """Quantize weights and activations to 8 bits (NNCF's post-training quantization) and return the model's files.

    Ranges are symmetric, and biases are corrected.

    Args:
        graph: from `convert_graph`; it is not changed.
        samples: a few hundred images as the network receives them, uint8 [n, size, size, 3].
    """
    nncf.set_log_level(logging.ERROR)
    quantized = nncf.quantize(
        graph,
        nncf.Dataset([image[None] for image in samples]),
        preset=nncf.QuantizationPreset.PERFORMANCE,
        fast_bias_correction=False,  # the fast variant costs InceptionV3 0.3 to 0.5 points on Tiny-ImageNet
        subset_size=len(samples),
    )
    return _serialize(quantized, OPENVINO_INT8)


def export_float16(graph: ov.Model) -> dict[str, bytes]:
    """Return the model's files with float16 weights, the precision of the weights file."""
    return _serialize(graph, OPENVINO_FLOAT)


def _serialize(graph: ov.Model, names: tuple[str, str]) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        ov.save_model(graph, Path(folder) / names[0], compress_to_fp16=True)
        return {name: (Path(folder) / name).read_bytes() for name in names}
