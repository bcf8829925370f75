"""Where a network's first weights come from: ImageNet by Keras's download, the store, a file, or nowhere (random)."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from models import networks
from models.artifacts.store import Store
from models.errors import WeightsError
from models.manifests import WEIGHTS_FILE, sha256
from models.networks import Tensors
from training.errors import TrainingError

#: `store:NAME`: the newest version of an extractor there.
FROM_STORE = "store:"
IMAGENET_TOP = "probabilities"
IMAGENET_CLASSES = 1000


@dataclass(frozen=True)
class Source:
    """A file on the web with the MD5 that Keras pins for it."""

    url: str
    md5: str


#: What keras.applications downloads.
IMAGENET = {
    "inception_v3": Source(
        "https://storage.googleapis.com/tensorflow/keras-applications/inception_v3/"
        "inception_v3_weights_tf_dim_ordering_tf_kernels.h5",
        "9a0d58056eeedaa3f26cb7ebd46da564",
    ),
    "vgg19": Source(
        "https://storage.googleapis.com/tensorflow/keras-applications/vgg19/"
        "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "253f8cb515780f3b799900260a226db6",
    ),
}
#: Their files hold convolutions alone: our VGG19 has dense layers of its own, and Keras's would be six times as much.
_WITHOUT_TOP = {"vgg19"}
CLASS_INDEX = Source(
    "https://storage.googleapis.com/download.tensorflow.org/data/imagenet_class_index.json",
    "c2c37ea517e94d9795004a39431a14cb",
)


@dataclass(frozen=True)
class Downloads:
    """Where ImageNet's weights and class names are fetched from, and where they are kept."""

    weights: Source
    class_index: Source = CLASS_INDEX
    cache: Path | None = None  # Keras's own, ~/.keras


@dataclass(frozen=True)
class InitialWeights:
    """Tensors to start from, and the tops among them: name -> class names in the order of the columns."""

    tensors: Tensors
    tops: dict[str, tuple[str, ...]] = field(default_factory=dict)
    origin: str = "random"


def load(network: str, weights: str, store: Store, downloads: Downloads | None = None) -> InitialWeights | None:
    """Get start weights.

    Args:
        network: its name in models.networks.
        weights: `imagenet`, `random`, `store:NAME`, or the path of a .safetensors file or of a .h5 file as Keras
            distributes it for this network.
        store: where extractors lie.
        downloads: where ImageNet's files are, if not where Keras has them.

    Returns:
        None for `random`.

    Raises:
        TrainingError, ModelsError: they cannot be had or do not fit; says what else can be done.
    """
    if weights == "random":
        return None
    if weights.startswith(FROM_STORE):
        return _from_store(weights.removeprefix(FROM_STORE), store)
    if network not in IMAGENET and (weights == "imagenet" or weights.endswith(".h5")):
        raise TrainingError(f"No ImageNet weights are known for {network}. Use a .safetensors file, or random.")
    if weights == "imagenet":
        return _from_imagenet(network, downloads or Downloads(IMAGENET[network]))
    path = Path(weights)
    if not path.is_file():
        raise TrainingError(f"There is no weights file {path}. {_WAYS_ON}")
    origin = f"{path.name} sha256:{sha256(path.read_bytes())}"
    if path.suffix == ".h5":
        names = () if network in _WITHOUT_TOP else _class_names(_class_index(path, downloads))
        return _from_keras(network, path, names, origin)
    return InitialWeights(networks.from_bytes(path.read_bytes()), origin=origin)


_WAYS_ON = "Use --weights FILE (.safetensors, or Keras's .h5) or --weights random."
_CLASS_INDEX_FILE = "imagenet_class_index.json"


def _class_index(weights: Path, downloads: Downloads | None) -> Path:
    beside = weights.with_name(_CLASS_INDEX_FILE)
    if beside.is_file():
        return beside
    try:
        return _fetch(downloads.class_index if downloads else CLASS_INDEX, downloads.cache if downloads else None)
    except TrainingError as error:
        raise TrainingError(f"{error} An .h5 file needs {_CLASS_INDEX_FILE} beside it.") from error


def _from_store(name: str, store: Store) -> InitialWeights:
    """What an extractor learned; its tops are of what it was fitted on, and stay behind."""
    artifact = store.extractor(name)
    data = artifact.read(WEIGHTS_FILE)
    return InitialWeights(networks.from_bytes(data), origin=f"{artifact.label} sha256:{sha256(data)}")


def _from_imagenet(network: str, downloads: Downloads) -> InitialWeights:
    path = _fetch(downloads.weights, downloads.cache)
    names = () if network in _WITHOUT_TOP else _class_names(_fetch(downloads.class_index, downloads.cache))
    return _from_keras(network, path, names, f"imagenet md5:{downloads.weights.md5}")


def _fetch(source: Source, cache: Path | None) -> Path:
    """Keras's download: progress bar, checksum, cache."""
    import keras

    try:
        file = keras.utils.get_file(
            origin=source.url, file_hash=source.md5, cache_dir=cache and str(cache), cache_subdir="models"
        )
        return Path(file)
    except Exception as error:  # Keras raises a bare Exception where the network fails
        reason = _first_line(error)
        raise TrainingError(f"{Path(source.url).name} cannot be fetched ({reason}). {_WAYS_ON}") from error


def _from_keras(network: str, path: Path, names: tuple[str, ...], origin: str) -> InitialWeights:
    """Read a file of keras.applications; the top of one with `names` of classes becomes `probabilities`."""
    import keras

    builders = {"inception_v3": keras.applications.InceptionV3, "vgg19": keras.applications.VGG19}
    top = {"include_top": True, "classes": len(names)} if names else {"include_top": False}
    original = builders[network](weights=None, **top)
    try:
        original.load_weights(path)
    except Exception as error:  # a damaged or hostile file makes h5py and Keras raise nearly anything
        reason, which = _first_line(error), "with its top" if names else "without its top"
        raise WeightsError(f"{path} does not hold Keras's weights of {network} {which} ({reason}).") from error
    tensors = {
        name.replace("predictions/", f"{IMAGENET_TOP}/"): value for name, value in networks.tensors(original).items()
    }
    return InitialWeights(tensors, {IMAGENET_TOP: names} if names else {}, origin)


def _class_names(path: Path) -> tuple[str, ...]:
    """Plain names from imagenet_class_index.json; where two classes share one, with their WordNet ids."""
    try:
        index = json.loads(path.read_text())
        entries = [index[str(i)] for i in range(IMAGENET_CLASSES)]
        counts = Counter(name for _, name in entries)
        plain = [name if counts[name] == 1 else f"{name} ({wnid})" for wnid, name in entries]
        return tuple(name.replace("_", " ") for name in plain)
    except (ValueError, LookupError, TypeError, AttributeError, OSError) as error:
        raise TrainingError(f"{path} is no list of ImageNet's {IMAGENET_CLASSES} classes.") from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
