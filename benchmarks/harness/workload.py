"""What is measured: a classifier of a store, and pictures for it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from benchmarks.harness import images as pictures
from benchmarks.harness.stores import shipped_store, speed_store
from models.artifacts.store import Store
from models.manifests import sha256


class Network(StrEnum):
    """An extractor by its input size, px: the one that is made for measuring, or the one that is shipped."""

    LARGE = "299"
    SHIPPED = "96"


class Picture(StrEnum):
    """Pixels of the JPEG files: what the web shows, or what a camera takes."""

    WEB = "500x375"
    CAMERA = "4000x3000"


_COUNTS = {Picture.WEB: 24, Picture.CAMERA: 6}


@dataclass(frozen=True)
class Workload:
    """A classifier, and encoded pictures of which no two are alike."""

    network: Network
    picture: Picture
    store: Path
    model: str
    pictures: list[bytes]
    module: str = "app"
    """What is run with `python -m` to serve it."""

    @property
    def title(self) -> str:
        """What this is, for the head of a table."""
        return f"{self.model} at {self.network} px, JPEG of {self.picture}"

    @property
    def fingerprint(self) -> str:
        """Of the classifier and its extractor, with all files that their manifests name."""
        store = Store(self.store)
        classifier = store.classifier(self.model)
        manifests = (classifier.manifest, store.extractor_of(classifier).manifest)
        return sha256("".join(manifest.model_dump_json() for manifest in manifests).encode())[:16]

    @property
    def facts(self) -> dict[str, str]:
        """What a picture is."""
        mean = sum(map(len, self.pictures)) / len(self.pictures)
        return {"a picture": f"JPEG, {self.picture}, {mean / 1000:,.0f} kB"}


def workload(network: Network, picture: Picture, cache: Path) -> Workload:
    """Make, or find again, what a name stands for.

    Args:
        network: by its input size.
        picture: by its pixels.
        cache: where stores that are made are kept.
    """
    store, model = (shipped_store(), "cifar10") if network is Network.SHIPPED else (speed_store(cache), "speed")
    return Workload(network, picture, store, model, draw(picture))


def draw(picture: Picture) -> list[bytes]:
    """Pictures of a size."""
    width, height = map(int, picture.split("x"))
    return pictures.jpegs(_COUNTS[picture], width, height)
