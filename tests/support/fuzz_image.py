"""`python -m tests.support.fuzz_image [libFuzzer's options]`: files that Atheris makes up, decoded; `make fuzz-image`.

Coverage of `models` and of the Python in Pillow says which files are worth changing further. Atheris is in no lock,
since it has no wheels for arm64: `.venv/bin/python -m pip install atheris==3.0.0` (Linux on x86_64, Python 3.11 to
3.13). What is found is kept in the folder for temporary files, and named; `python -m tests.support.fuzz_image FILE`
repeats it.
"""

from __future__ import annotations

import multiprocessing
import sys
import tarfile
import tempfile
import warnings
from pathlib import Path

import atheris

from tests.support.paths import SHARED_DATA

with atheris.instrument_imports(include=["PIL", "models"]):
    from PIL import Image

    Image.init()  # imports the formats, which would be imported on their first use otherwise

    from models.decoding.image import decode
    from models.decoding.limits import Limits
    from models.errors import ImageError

from tests.support.images import GREY, PALETTE, RGB_ALPHA, blocks, encode, noise, png, tiff

_LIMITS = Limits(max_bytes=100_000, max_pixels=250_000, max_side=2_000)
_SECONDS = 5  # for one file: of this size each takes milliseconds
_HOSTILE = SHARED_DATA / "hostile-images.tar.gz"


def decode_one(data: bytes) -> None:
    """The path of an upload; any error except ImageError is a finding, and so is an invalid decoded image."""
    try:
        image = decode(data, _LIMITS, min_side=32)
    except ImageError:
        return
    assert image.mode == "RGB"
    assert image.width * image.height <= _LIMITS.max_pixels


def seeds() -> dict[str, bytes]:
    """Small images of every format, and the findings of other fuzzers if they are in the shared data folder."""
    grid = noise(12, 16)
    drawn = {kind: encode(blocks(), kind) for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")}
    drawn |= {
        "progressive": encode(blocks(), "JPEG", progressive=True),
        "lossless": encode(blocks(), "WEBP", lossless=True),
        "lzw": encode(blocks(), "TIFF", compression="tiff_lzw"),
        "16 bits": png(grid[..., 0].astype(int) * 257, GREY, 16, transparent=[257]),
        "palette": png(grid[..., 0] % 4, PALETTE, 2, palette=[(i, i, i) for i in range(4)], alphas=b"\0\x80"),
        "alpha": png(noise(12, 64).reshape(12, 48, 4), RGB_ALPHA, 8),
        "tiles": tiff(grid[..., 0], ">", tile=16),
    }
    if _HOSTILE.is_file():
        with tarfile.open(_HOSTILE) as archive:
            members = {each.name: archive.extractfile(each) for each in archive if each.isfile()}
            drawn |= {name.replace("/", "_"): member.read() for name, member in members.items() if member}
    return {name: data for name, data in drawn.items() if len(data) <= _LIMITS.max_bytes}


def main() -> int:
    """Fuzz until the options or a finding end it; libFuzzer's exit code."""
    repeated = any(not option.startswith("-") for option in sys.argv[1:])
    with tempfile.TemporaryDirectory() as corpus:
        for name, data in {} if repeated else seeds().items():
            (Path(corpus) / name).write_bytes(data)
        kept = f"-artifact_prefix={tempfile.gettempdir()}/fuzz-image-"
        options = [kept, f"-max_len={_LIMITS.max_bytes}", f"-timeout={_SECONDS}", *sys.argv[1:]]
        fuzzing = multiprocessing.get_context("fork").Process(target=fuzz, args=(options, [] if repeated else [corpus]))
        fuzzing.start()
        fuzzing.join()
    return fuzzing.exitcode or 0


def fuzz(options: list[str], corpus: list[str]) -> None:
    """Ends the process without Python's leave, and so in one of its own: the corpus is to be removed."""
    warnings.simplefilter("ignore")  # a server goes on after a warning, too
    atheris.Setup([sys.argv[0], *options, *corpus], decode_one)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
