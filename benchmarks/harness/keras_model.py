"""An extractor of a store as Keras has it, for what is measured beside our engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models import networks
from models.artifacts.store import ExtractorArtifact
from models.manifests import WEIGHTS_FILE

if TYPE_CHECKING:
    import keras


def build(extractor: ExtractorArtifact) -> keras.Model:
    """uint8 [n, size, size, 3] -> its pooled features, float32 [n, width]."""
    import keras

    manifest = extractor.manifest
    tops = {top: len(classes) for top, classes in manifest.tops.items()}
    network = networks.build(manifest.network, manifest.input_size, tops)
    networks.assign(network, networks.from_bytes(extractor.read(WEIGHTS_FILE)))
    pixels = keras.Input((manifest.input_size, manifest.input_size, 3), dtype="uint8")
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1)(pixels)
    return keras.Model(pixels, network(scaled)[networks.POOLED])
