"""Feature rows on disk, by the digest of their image."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

import numpy as np

from models.arrays import Floats

#: Bytes of a SHA-256.
_DIGEST_BYTES = 32


class FeatureCache:
    """Rows of float32 features in two files that only grow: the rows, and the digests of their images.

    After a kill, the next run continues behind the last complete row. The files stay locked while the cache is open,
    because rows and digests have to be appended in the same order.
    """

    def __init__(self, folder: Path, width: int) -> None:
        """Open or create a cache, wait for its lock, and cut off an incomplete row that a killed run left."""
        folder.mkdir(parents=True, exist_ok=True)
        self._width = width
        self._index_file = (folder / "index.sha256").open("a+b")
        self._rows_file = (folder / "rows.float32").open("a+b")
        fcntl.flock(self._index_file, fcntl.LOCK_EX)
        self._index_file.seek(0, os.SEEK_END)
        self._rows_file.seek(0, os.SEEK_END)
        rows = min(self._index_file.tell() // _DIGEST_BYTES, self._rows_file.tell() // (4 * width))
        self._index_file.truncate(rows * _DIGEST_BYTES)
        self._rows_file.truncate(rows * 4 * width)
        self._index_file.seek(0)
        keys = self._index_file.read()
        self._rows = {keys[i * _DIGEST_BYTES : (i + 1) * _DIGEST_BYTES].hex(): i for i in range(rows)}

    def __enter__(self) -> FeatureCache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._index_file.close()
        self._rows_file.close()

    def __contains__(self, digest: str) -> bool:
        return digest in self._rows

    def append(self, digests: Iterable[str], features: Floats) -> None:
        """Add rows. Features are written first, so that no digest is ever stored without its row."""
        digests = list(digests)
        self._rows_file.write(np.ascontiguousarray(features, dtype=np.float32).tobytes())
        self._rows_file.flush()
        self._index_file.write(b"".join(bytes.fromhex(digest) for digest in digests))
        self._index_file.flush()
        for digest in digests:
            self._rows[digest] = len(self._rows)

    def read(self, digests: Iterable[str]) -> Floats:
        """Return the rows of these images, float32 [images, width]."""
        indices = [self._rows[digest] for digest in digests]
        if not indices:
            return np.empty((0, self._width), np.float32)
        rows = np.memmap(self._rows_file.name, np.float32, "r", shape=(len(self._rows), self._width))
        return np.array(rows[indices])
