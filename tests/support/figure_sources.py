"""Where the figures in the documents come from: the shipped store, settings, constants of the code, and other works.

Figures of measurements of which no output was kept are listed in `docs/unrecorded.toml`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator

from python_multipart.multipart import DEFAULT_MAX_HEADER_SIZE

from app.settings import Settings
from benchmarks.options import InputSize
from benchmarks.peers.compare import MIN_SPEEDUP
from benchmarks.peers.model import Setup
from benchmarks.published import SYSTEMS
from benchmarks.serving.throughput import MIN_SHARE_OF_BOUND
from models.artifacts.store import DEFAULT_STORE, Store
from models.manifests import Metrics
from tests.support.figures import Claim, claim, constant
from tests.support.paths import ROOT

MB, KIB, MIB, GIB = 1e6, 1024, 1024**2, 1024**3
SECURITY, API, OPERATIONS, ARCHITECTURE = "SECURITY.md", "docs/api.md", "docs/operations.md", "docs/architecture.md"
TRAINING, BENCHMARKS = "docs/training.md", "docs/benchmarks.md"

OUTSIDE = (
    (ARCHITECTURE, "RFC 9112 3.2 and 5", "RFC 9112, sections 3.2 and 5"),
    (SECURITY, "pi-heif 1.4", "the version of pi-heif in which the faults were found"),
    ("README.md", "(LGPL 3.0)", "the licence of libheif and libde265"),
    ("README.md", "(Apache License 2.0;", "the licence of EfficientNet-Lite"),
    ("README.md", "accuracy (95 % interval)", "the confidence level of all intervals, by convention"),
    (TRAINING, "95 %", "the confidence level of all intervals, by convention"),
    (TRAINING, "is 0.2 degrees", "the second blog post"),
    (
        TRAINING,
        "below the .80 published for 2,000 photos",
        "Keras's blog, Building powerful image classification models",
    ),
    (TRAINING, "follows WordNet 3.0", "the version of WordNet"),
    (ARCHITECTURE, "a newer httptools than 0.9", "PyPI"),
)
"""Document, words with figures, and where they are from."""


def claims() -> Iterator[Claim]:
    """Yield every claim with the values of its source."""
    yield from _accuracies()
    yield from _versions()
    yield from _limits_of_requests()
    yield from _limits_of_processes()
    yield from _defaults()
    yield from _targets()
    yield from _posts()


def _percent(metrics: Metrics) -> tuple[float, float, float, float, float, float]:
    low, high = metrics.accuracy_interval
    shares = (metrics.accuracy, low, high, metrics.top5_accuracy)
    return (*(100 * share for share in shares), metrics.log_loss, metrics.expected_calibration_error)  # type: ignore[return-value]


def _accuracies() -> Iterator[Claim]:
    store = Store(DEFAULT_STORE)
    imagenet, cifar = (store.classifier(name).manifest.metrics for name in ("imagenet", "cifar10"))
    row = "**{} %** ({} to {}) | {} % | {} | {} |"
    yield claim("README.md", f"CIFAR-10, 10,000 test images | {row}", *_percent(cifar["test"]))
    photographs = "| {} photographs of {} of its classes, short side 144 px | "
    test = imagenet["test"]
    classes = len(test.accuracy_by_class)
    yield claim("README.md", photographs + row, test.images, classes, *_percent(test))
    photos = "400 photos of cats and dogs, classified among the ten classes | {} % ({} to {}) | {} % | {} | {} |"
    yield claim("README.md", photos, *_percent(cifar["photographs"]))
    engines = store.extractor("inception_v3_96").manifest.engines
    int8, float32, bfloat16 = (
        engines[name].accuracy for name in ("openvino:int8", "tensorflow:float32", "tensorflow:bfloat16")
    )
    both = "an accuracy of {} and {} in 8 bits, {} and {} in float32, {} and {} in bfloat16"
    values = [accuracy[top] for accuracy in (int8, float32, bfloat16) for top in ("tiny", "cifar")]
    yield claim(TRAINING, both, *values)
    classified = (
        "its softmax classifies {} of CIFAR-10's test images correctly in 8 bits, {} in float32, {} in bfloat16"
    )
    yield claim(BENCHMARKS, classified, int8["cifar"], float32["cifar"], bfloat16["cifar"])
    yield claim(
        TRAINING,
        "| XGBoost | **{}** (log loss {})",
        cifar["test"].accuracy,
        cifar["test"].log_loss,
    )
    yield claim(TRAINING, "which is not shipped as a classifier | **{}**", int8["cifar"])
    low, high = cifar["photographs"].accuracy_interval
    yield claim(TRAINING, "ten classes | XGBoost | **{}** ({} to {})", cifar["photographs"].accuracy, low, high)
    yield claim(TRAINING, "The shipped XGBoost head has {}", cifar["test"].accuracy)
    needed = engines["openvino:int8"]
    agreement = "only {} on average, {} for one image, and the same most likely class for {}"
    yield claim(OPERATIONS, agreement, needed.mean_cosine, needed.min_cosine, needed.min_top1)
    exact, rounded = engines["tensorflow:float32"], engines["tensorflow:bfloat16"]
    yield claim(OPERATIONS, "a cosine similarity of {}", exact.min_cosine)
    yield claim(OPERATIONS, "the same most likely class for {} of them", exact.min_top1)
    yield claim(OPERATIONS, "of bfloat16 and float16, {} and {}", rounded.min_cosine, rounded.min_top1)
    shipped = constant("tests/models/artifacts/test_golden_shipped.py", "MIN_MEAN_COSINE")
    yield claim(OPERATIONS, "in 8 bits has more than {} on average", shipped)
    factor = constant("training/extractor/validate_engines.py", "_INT8_DISTANCE_FACTOR")
    yield claim(OPERATIONS, "at most {} times the distance", factor)


def _versions() -> Iterator[Claim]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    low, high = re.findall(r"3\.(\d+)", project["requires-python"])
    supported = [float(f"3.{minor}") for minor in range(int(low), int(high))]
    yield claim("README.md", "With Python {}, {} or {} and make", *supported)
    yield claim("CONTRIBUTING.md", "make and Python {}, {} or {}", *supported)
    for library in ("starlette", "pillow"):
        (minimum,) = (text for text in project["dependencies"] if text.startswith(f"{library}>="))
        yield claim(SECURITY, f"| {library} | {{}} |", float(minimum.partition(">=")[2]))
    yield claim(
        "CONTRIBUTING.md", "in fewer than {} characters", constant("tests/test_layout.py", "MAX_NAME_LENGTH") + 1
    )


def _limits_of_requests() -> Iterator[Claim]:
    head = constant("app/server/request_head.py", "MAX_HEAD_BYTES") / KIB
    yield claim(SECURITY, "{} KiB for a head or for trailers", head)
    yield claim(OPERATIONS, "trailers (ignored) | {} KiB", head)
    linger = [constant("app/server/connection.py", name) for name in ("_MAX_LINGER_BYTES", "_MAX_LINGER_S")]
    yield claim(SECURITY, "up to {} MiB or {} s", linger[0] / MIB, linger[1])
    yield claim(ARCHITECTURE, "read and discard up to {} MiB or {} s", linger[0] / MIB, linger[1])
    yield claim(
        ARCHITECTURE, "parsed in slices of {} KiB", constant("app/server/http_protocol.py", "_SLICE_BYTES") / KIB
    )
    yield claim(OPERATIONS, "connections stay open for {} s", constant("app/server/server.py", "_KEEP_ALIVE_S"))
    piece = constant("app/uploads/multipart.py", "_PIECE_BYTES") / KIB
    yield claim(SECURITY, "without one at most {} KiB of a form", piece)
    yield claim(OPERATIONS, "if it is such a form, after at most {} KiB", piece)
    yield claim(OPERATIONS, "header | {} characters", constant("app/uploads/body.py", "_MAX_CONTENT_TYPE"))
    yield claim(
        OPERATIONS, "text field of a form | {} KiB", constant("app/uploads/multipart.py", "_MAX_TEXT_BYTES") / KIB
    )
    yield claim(
        OPERATIONS,
        "epilogue | {} KiB per allowed part",
        constant("app/uploads/multipart.py", "_MAX_OVERHEAD_BYTES") / KIB,
    )
    header = "size of each, including a file name | 8; {} KiB"
    yield claim(OPERATIONS, header, DEFAULT_MAX_HEADER_SIZE / KIB)
    yield claim(
        OPERATIONS, "which gets {} s more per {} kB", 1, constant("app/uploads/body.py", "MIN_BYTES_PER_S") / 1000
    )
    megabytes = constant("app/oip/messages.py", "MAX_JSON_BYTES") / MB
    yield claim(OPERATIONS, "lists and objects in it | {} MB", megabytes)
    yield claim(API, "The JSON may have up to {} MB", megabytes)
    yield claim(API, "with {} bytes each on average", constant("app/uploads/zips.py", "_BYTES_PER_ENTRY"))
    yield claim(
        API, "up to {} characters. It is returned", constant("app/middleware/request_context.py", "_MAX_REQUEST_ID")
    )
    yield claim(SECURITY, "in turns of {} ms", 1000 * constant("app/uploads/archive_threads.py", "_TURN_S"))
    yield claim(SECURITY, "headers over {} KiB", constant("training/data/unpacking/tar.py", "_MAX_HEADER_BYTES") / KIB)


def _limits_of_processes() -> Iterator[Claim]:
    timeout = constant("app/decoding/response_timeout.py", "RESPONSE_TIMEOUT_S")
    yield claim(SECURITY, "the time limit is {} s", timeout)
    yield claim(SECURITY, "has not responded after {} s", timeout)
    yield claim(OPERATIONS, "decoding time of any image | {} s", timeout)
    proof = "models/artifacts/proof_worker.py"
    head_s, extractor_s = constant(proof, "_HEAD_CPU_S"), constant(proof, "_EXTRACTOR_CPU_S")
    head_gib, extractor_gib = constant(proof, "_HEAD_BYTES") / GIB, constant(proof, "_EXTRACTOR_BYTES") / GIB
    limits = "(a head within {} s of processor time and {} GiB, an extractor within {} s and {} GiB)"
    yield claim(SECURITY, limits, head_s, head_gib, extractor_s, extractor_gib)
    yield claim(OPERATIONS, "{} s and {} GiB for a head, half an hour and {} GiB", head_s, head_gib, extractor_gib)
    pixels = Settings().large_image_pixels
    worker = "models/decoding/worker.py"
    seconds, large_seconds = constant(worker, "BASE_CPU_S"), constant(worker, "LARGE_IMAGE_CPU_S")
    gigabytes, large_gigabytes = constant(worker, "BASE_BYTES") / 1e9, constant(worker, "LARGE_IMAGE_BYTES") / 1e9
    share = pixels / constant(worker, "_LARGE_IMAGE_PIXELS")
    yield claim(SECURITY, "may use 1 to {} seconds", seconds + share * large_seconds)
    yield claim(SECURITY, "{} to {} GB plus four times the file", gigabytes, gigabytes + share * large_gigabytes)
    per_million = large_seconds / constant(worker, "_LARGE_IMAGE_PIXELS") * 1e6
    per_pixel = large_gigabytes / constant(worker, "_LARGE_IMAGE_PIXELS") * 1e9
    formula = "memory | {} s plus {} s per million pixels; {} GB plus {} bytes per pixel"
    yield claim(OPERATIONS, formula, seconds, per_million, gigabytes, per_pixel)
    decoder, limits_file = "app/decoding/decoder.py", "models/decoding/limits.py"
    small = pixels / constant(decoder, "_SMALL_IMAGE_DIVISOR") / 1e6
    slow = small / constant(decoder, "_SLOW_FORMAT_FACTOR")
    yield claim(OPERATIONS, "JPEG up to {} million", small)
    yield claim(OPERATIONS, "as long, up to {} million", slow)
    yield claim(OPERATIONS, "formats from 4 to {} million", small)
    yield claim(OPERATIONS, "more than {} million", small)
    yield claim(SECURITY, "at most {} million pixels", Settings().max_pixels / 1e6)
    yield claim(SECURITY, "{} million pixels of a run-length", constant(limits_file, "MAX_BMP_RLE_PIXELS") / 1e6)
    yield claim(SECURITY, "{} KiB of metadata", constant(limits_file, "MAX_EXIF_BYTES") / KIB)
    queued = constant("app/decoding/worker_jobs.py", "_MAX_QUEUED_BYTES") / KIB
    yield claim(SECURITY, "none once it has {} KiB", queued)
    yield claim(ARCHITECTURE, "its encoded images total {} KiB", queued)
    batch = "app/batching/worker.py"
    yield claim(OPERATIONS, "fail over more than {} s", constant(batch, "MAX_FAILING_S"))
    yield claim(OPERATIONS, "a batch runs for {} s", constant(batch, "MAX_BATCH_S"))
    limit = 20  # bytes per pixel, of the text of APP_LARGE_IMAGE_PIXELS
    words = "limit: {} bytes per pixel | {} GB (JPEG), {} GB (others) | {} GB | {} GB"
    yield claim(OPERATIONS, words, limit, *(limit * size / 1000 for size in (small, slow, small, pixels / 1e6)))


def _defaults() -> Iterator[Claim]:
    settings = Settings()
    yield claim(API, "up to {} MB and {} million pixels", settings.max_body_bytes / MB, settings.max_pixels / 1e6)
    yield claim(API, "images and {} MB", settings.max_batch_request_bytes / MB)
    yield claim(API, "with a score of at least {} is *sure*", constant("models/hierarchy.py", "SURE"))
    yield claim(ARCHITECTURE, "the number that takes {} ms", settings.max_batch_latency_ms)
    yield claim(OPERATIONS, "Decoding needs up to {} bytes of memory per pixel", 20)
    holdout = 100 * constant("training/data/split.py", "HOLDOUT_SHARE")
    alike = constant("training/data/near_duplicates.py", "_MIN_CORRELATION")
    yield claim(TRAINING, "correlate by at least {};", alike)
    yield claim(TRAINING, "A **fixed {} %** of every training set", holdout)
    yield claim(TRAINING, "**The fixed {} % is held out**", holdout)
    for words in ("the fixed {} %", "held-out {} %"):
        yield claim(TRAINING, words, holdout)
    yield claim(ARCHITECTURE, "the fixed {} %", holdout)
    loss = 100 * constant("training/extractor/validate_engines.py", "MAX_INT8_ACCURACY_LOSS")
    yield claim(ARCHITECTURE, "by more than {} percentage points", loss)
    mirror = 100 * (1 - constant("training/heads/model_selection.py", "MAX_MIRROR_LOSS_RATIO"))
    yield claim(TRAINING, "lower the log loss by {} %", mirror)


def _targets() -> Iterator[Claim]:
    """Targets of benchmarks."""
    serving, endurance, offline = (f"benchmarks/{name}" for name in ("serving", "endurance", "offline"))
    yield claim(BENCHMARKS, "in separate processes | {} at", constant(f"{offline}/engine.py", "MIN_RATIO"))
    loss = constant(f"{offline}/scaled_decoding.py", "MAX_LOSS")
    yield claim(TRAINING, "keep at least {} px and twice", constant("models/preprocess.py", "_MIN_DECODED_SIDE"))
    yield claim(TRAINING, "Scaled decoding may cost at most {} percentage points", loss)
    yield claim(BENCHMARKS, "CPU time of preprocessing | at most {} points less", loss)
    shares = [MIN_SHARE_OF_BOUND[size] for size in (InputSize.LARGE, InputSize.SHIPPED)]
    yield claim(BENCHMARKS, "a fraction of the bound | {} at 299 px, {} at 96 px", *shares)
    yield claim(
        BENCHMARKS, "| {} and {}; at most", *(MIN_SPEEDUP[setup] for setup in (Setup.DOCUMENTED, Setup.OUR_ENGINE))
    )
    yield claim(BENCHMARKS, "at most {} of the first", constant(f"{serving}/latency.py", "MAX_RATIO"))
    yield claim(
        BENCHMARKS,
        "the peak, as a fraction of the peak | {} |",
        constant(f"{serving}/connections.py", "MIN_SHARE_OF_PEAK"),
    )
    heads = [
        constant(f"{serving}/many_heads.py", name) for name in ("MIN_SPREAD_RATIO", "MAX_THREE_RATIO", "MAX_HEAD_MB")
    ]
    yield claim(BENCHMARKS, "memory of each | {}; at most {}; at most {} MB", *heads)
    overload = [constant(f"{serving}/overload.py", name) for name in ("MIN_GOODPUT", "MAX_REJECTION_MS")]
    yield claim(BENCHMARKS, "rejections | {} of the peak; all; 503 with Retry-After, p99 at most {} ms", *overload)
    recovery = [constant(f"{serving}/recovery.py", name) for name in ("RECOVERY_S", "SLOW_S", "MAX_RATIO")]
    words = "40 images, {} s after other processes occupied all cores for {} s, compared with the same request to an"
    yield claim(BENCHMARKS, f"{words} undisturbed server | at most {{}}", *recovery)
    yield claim(BENCHMARKS, "no less; at most {} %", 100 * constant(f"{serving}/cancellation.py", "MAX_WASTED"))
    yield claim(BENCHMARKS, "20,000 requests | at most {} MB", constant(f"{serving}/memory.py", "MAX_GROWTH_MB"))
    start = [constant(f"{serving}/startup.py", name) for name in ("MAX_START_S", "MAX_RESIDENT_MB", "MAX_STORE_MB")]
    yield claim(BENCHMARKS, "at most {} s, {} MB, {} MB", *start)
    tail, load = (constant("benchmarks/peers/compare.py", name) for name in ("MAX_TAIL_RATIO", "LOAD"))
    yield claim(BENCHMARKS, "p99 at {} % of that peer's peak | 3 and 1.2; at most {}", 100 * load, tail)
    yield claim(BENCHMARKS, "32 requests in flight | {} |", constant(f"{serving}/batch_request.py", "MIN_RATIO"))
    yield claim(BENCHMARKS, "alone on their pixels | {} |", constant(f"{offline}/classify_folder.py", "MIN_RATIO"))
    extraction = [constant(f"{offline}/extraction.py", name) for name in ("MIN_RATIO", "MAX_PEAK_MB")]
    yield claim(BENCHMARKS, "half of them | {} of the first; at most {} MB", *extraction)
    yield claim(BENCHMARKS, "each batch in one | {} |", constant(f"{offline}/fit.py", "MIN_RATIO"))
    soak = [
        100 * constant(f"{endurance}/soak.py", "LOAD"),
        100 * constant(f"{endurance}/traffic_mix.py", "INVALID_SHARE"),
    ]
    growth = constant(f"{endurance}/leak_check.py", "MAX_GROWTH_MB")
    yield claim(BENCHMARKS, "at {} % of the capacity, including {} % bad input", *soak)
    disconnected = 100 * constant(f"{endurance}/traffic_mix.py", "DISCONNECTED_SHARE")
    yield claim(BENCHMARKS, "bad input and {} % disconnects", disconnected)
    ratio = constant(f"{endurance}/soak.py", "MAX_LATENCY_RATIO")
    yield claim(BENCHMARKS, "0; at most {} MB; at most {}; 0", growth, ratio)
    yield claim(BENCHMARKS, "all free; at most {} MB", growth)
    yield claim(BENCHMARKS, "0; 0; at most {}; 0", constant(f"{endurance}/restarts.py", "MAX_RESTART_RATIO"))


def _posts() -> Iterator[Claim]:
    """Figures of the blog posts, as `python -m benchmarks published` prints them."""
    for system in SYSTEMS:
        if values := re.findall(r"\.\d+", system.post):
            words = re.sub(r"\.\d+", "{}", f"| {system.task} | {system.name} | {system.post} |")
            yield claim(TRAINING, words, *map(float, values))
