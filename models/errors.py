"""Errors of the models package, except those of rejected images (`models.decoding.errors`).

Steps of loading a model, and the error of each step::

    name ──find──▶ folder ──read──▶ files ──build──▶ network, head ──replay──▶ ready
      │              │                │                 │
      ModelNotFound  CorruptArtifact  UnsafePickle      GoldenMismatch
                                      WeightsError

These are errors of input or of configuration; any other exception is a bug. Each message is one line that says what is
wrong and what to do.
"""

from __future__ import annotations

from collections.abc import Sequence


class ModelsError(Exception):
    """Base class of this package's errors; `code` is a stable identifier for programs."""

    code = "error"


class ModelNotFound(ModelsError):
    """The store has no such classifier, extractor or version; the message lists the existing ones."""

    code = "model_not_found"


class DecoderUnavailable(ModelsError):
    """No decode worker could be started."""

    code = "no_decoder"


class ArtifactError(ModelsError):
    """An artifact in the store cannot be used."""

    code = "bad_artifact"


class CorruptArtifact(ArtifactError):
    """A file of an artifact is missing, unexpected or does not match its digest."""

    code = "corrupt_artifact"


class UnsafePickle(ArtifactError):
    """A pickled head refers to a name outside the allow-list, is damaged, or holds no estimator of this project."""

    code = "unsafe_pickle"


class GoldenMismatch(ArtifactError):
    """The loaded model does not reproduce its golden outputs."""

    code = "golden_mismatch"


class WeightsError(ArtifactError):
    """Network weights are unavailable or do not match the network."""

    code = "bad_weights"


class EngineError(ArtifactError):
    """No inference engine on this machine can run the extractor."""

    code = "no_engine"


class ArtifactsRejected(ArtifactError):
    """Several artifacts of a store cannot be used.

    Attributes:
        reasons: the error of each.
    """

    def __init__(self, reasons: Sequence[ModelsError]) -> None:
        """Create the error of at least one artifact."""
        self.reasons = reasons
        more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
        super().__init__(f"{reasons[0]}{more}")


class HeadFailed(ModelsError):
    """A head raised an exception during inference; it is chained as the cause."""

    code = "head_failed"


class ServerError(ModelsError):
    """A remote server returned no usable response."""

    code = "no_answer"
