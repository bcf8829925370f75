"""Errors that end a training command with one line and exit code 1. Every message says what to do."""

from __future__ import annotations


class TrainingError(Exception):
    """Base class of the errors that a user can fix."""


class DatasetError(TrainingError):
    """The dataset is missing, empty, or has no known layout."""


class RecipeError(TrainingError):
    """The recipe is missing or invalid, or names something that does not exist."""


class DownloadError(TrainingError):
    """A file cannot be downloaded, or does not have the expected checksum."""


class SettingError(TrainingError):
    """An environment variable has an invalid value."""


class ForbiddenUse(RuntimeError):
    """A stage asked for images that it may not see. This is a bug, so it is no TrainingError."""
