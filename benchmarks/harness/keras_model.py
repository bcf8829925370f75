"""Extractors as Keras models, for comparison with the engines that serve."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models import networks
from models.artifacts.store import ExtractorArtifact
from models.manifests import WEIGHTS_FILE

if TYPE_CHECKING:
    import keras


def build_keras_model(extractor: ExtractorArtifact) -> keras.Model:
    """Build the network of an extractor: uint8 [n, size, size, 3] -> pooled features, float32 [n, width]."""
    import keras

    manifest = extractor.manifest
    tops = {top: len(classes) for top, classes in manifest.tops.items()}
    network = networks.build(manifest.network, manifest.input_size, tops)
    networks.set_tensors(network, networks.from_bytes(extractor.read(WEIGHTS_FILE)))
    pixels = keras.Input((manifest.input_size, manifest.input_size, 3), dtype="uint8")
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1)(pixels)
    return keras.Model(pixels, network(scaled)[networks.POOLED])
