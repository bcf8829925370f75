"""What an archive may still unpack to."""

from __future__ import annotations

from pathlib import Path

from training.errors import DatasetError
from training.runtime.unpack_limits import FILES_VARIABLE, GIGABYTES_VARIABLE, UnpackLimits


class UnpackBudget:
    """What an archive may still unpack to. Everything is counted before it is written."""

    def __init__(self, archive: Path, limits: UnpackLimits) -> None:
        """Start with all that the limits allow."""
        self._archive, self._limits = archive, limits
        self._files_left, self._bytes_left = limits.max_files, limits.max_bytes

    @property
    def files_left(self) -> int:
        """Number of files and folders that may still be unpacked."""
        return self._files_left

    def take_files(self, count: int) -> None:
        """Count files or folders; raises DatasetError if they are too many."""
        self._files_left -= count
        if self._files_left < 0:
            raise self.too_many_files()

    def take_bytes(self, name: str, count: int) -> None:
        """Count the bytes that a file declares; raises DatasetError if they are too many or negative."""
        self._bytes_left -= count
        if count < 0 or self._bytes_left < 0:
            raise DatasetError(
                f"{self._archive} unpacks to more than {self._limits.max_bytes / 1e9:g} GB, with {name!r}. If you "
                f"trust it, raise {GIGABYTES_VARIABLE}."
            )

    def too_many_files(self, excess: str = "") -> DatasetError:
        """Return the error for too many files and folders, or for the `excess` of a directory."""
        return DatasetError(
            f"{self._archive} has {excess or f'more than {self._limits.max_files:,} files and folders'}. If you trust "
            f"it, raise {FILES_VARIABLE}, or unpack it yourself."
        )
