"""What a user of the training commands can do wrong. Every message says what to do."""

from __future__ import annotations


class TrainingError(Exception):
    """Base of the errors that end a command with one line and exit code 1."""


class DatasetError(TrainingError):
    """The dataset is missing, empty, or not of a known form."""


class RecipeError(TrainingError):
    """The recipe is missing, is no TOML, or asks for something that does not exist."""
