"""Arrays of numbers in an .npz archive, within limits: a few bytes can declare an array of terabytes.

The format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import io
import math
import zipfile
from typing import Any

import numpy as np
import numpy.typing as npt

_MAX_ARRAYS = 1_000
_MAX_BYTES = 256_000_000  # 64 images of 1,024 px and their features
_SUFFIX = ".npy"
Array = npt.NDArray[Any]


def read_npz(data: bytes) -> dict[str, Array]:
    """Read all arrays of an archive.

    Raises:
        ValueError: the archive is damaged, exceeds the limits, or holds something else than numbers.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if len(members) > _MAX_ARRAYS or sum(member.file_size for member in members) > _MAX_BYTES:
                raise ValueError("the archive is too large")
            return {member.filename.removesuffix(_SUFFIX): _read_array(archive, member) for member in members}
    except ValueError:
        raise
    except Exception as error:  # zipfile, zlib and NumPy's reader raise many kinds of them
        raise ValueError("the archive is damaged") from error


def _read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Array:
    with archive.open(member) as file:
        content = io.BytesIO(file.read(member.file_size))  # with a size, it decompresses no more than that
    version = np.lib.format.read_magic(content)
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
    shape, is_fortran, dtype = read_header(content)
    body = content.read()
    if dtype.kind not in "biuf" or dtype.itemsize * math.prod(shape) != len(body) or min(shape, default=0) < 0:
        raise ValueError("an array has another size than its shape, or no numbers")
    return np.frombuffer(bytearray(body), dtype).reshape(shape, order="F" if is_fortran else "C")
