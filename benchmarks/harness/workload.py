"""Workloads: a classifier of a model store, and images to classify."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness.images import generate_jpegs
from benchmarks.harness.stores import shipped_store, speed_store
from benchmarks.options import ImageSize, InputSize
from models.artifacts.store import Store
from models.manifests import sha256

_IMAGE_COUNTS = {ImageSize.WEB: 24, ImageSize.CAMERA: 6}


@dataclass(frozen=True)
class Workload:
    """A classifier to serve and distinct encoded images to send.

    Attributes:
        input_size: of the classifier's extractor.
        image_size: of the images.
        store: folder of the model store.
        model: name of the classifier.
        images: JPEG files.
        module: run with `python -m` to serve the classifier.
    """

    input_size: InputSize
    image_size: ImageSize
    store: Path
    model: str
    images: list[bytes]
    module: str = "app"

    @property
    def title(self) -> str:
        """Description for the title of a report."""
        return f"{self.model} at {self.input_size} px, JPEG of {self.image_size}"

    @property
    def fingerprint(self) -> str:
        """Hash of the manifests of the classifier and its extractor, which contain the hashes of all their files."""
        store = Store(self.store)
        classifier = store.classifier(self.model)
        manifests = (classifier.manifest, store.extractor_of(classifier).manifest)
        return sha256("".join(manifest.model_dump_json() for manifest in manifests).encode())[:16]

    @property
    def facts(self) -> dict[str, str]:
        """Facts about the images for a report."""
        mean_bytes = sum(map(len, self.images)) / len(self.images)
        return {"image": f"JPEG, {self.image_size}, {mean_bytes / 1000:,.0f} kB"}


def make_workload(input_size: InputSize, image_size: ImageSize, cache: Path) -> Workload:
    """Generate the images, and the model store if it is not in the cache yet."""
    is_shipped = input_size is InputSize.SHIPPED
    store, model = (shipped_store(), "cifar10") if is_shipped else (speed_store(cache), "speed")
    return Workload(input_size, image_size, store, model, generate_images(image_size))


def generate_images(size: ImageSize) -> list[bytes]:
    """Generate distinct JPEG images of a size."""
    width, height = map(int, size.split("x"))
    return generate_jpegs(_IMAGE_COUNTS[size], width, height)
