"""Everything that can go wrong between an image's bytes and its probabilities.

The path of an image, and the error of each step::

    bytes ──sniff──▶ format ──open──▶ size ──decode──▶ RGB ─▶ pixels ─▶ features ─▶ probabilities
      │                │               │                │
      EmptyImage       Unsupported     ImageTooLarge    UndecodableImage
                       Image

The path of a model, and the error of each step::

    name ──find──▶ folder ──read──▶ files ──build──▶ network, head ──replay──▶ ready
      │              │                │                 │
      ModelNotFound  CorruptArtifact  UnsafePickle      GoldenMismatch
                                      WeightsError

What a caller did wrong is one of these; anything else that is raised is a fault of ours.
Every message is written for the person who reads it and says what to do.
"""

from __future__ import annotations


class ModelsError(Exception):
    """Base of all errors of this package; ``code`` is a stable name for programs."""

    code = "error"


class ImageError(ModelsError):
    """The image cannot be taken as it is."""

    code = "bad_image"


class EmptyImage(ImageError):
    """There are no bytes."""

    code = "empty_image"


class UnsupportedImage(ImageError):
    """The first bytes are of no allowed format."""

    code = "unsupported_format"


class ImageTooLarge(ImageError):
    """More bytes, pixels or a longer side than the limits allow."""

    code = "image_too_large"


class UndecodableImage(ImageError):
    """The format is allowed, but the rest cannot be decoded."""

    code = "undecodable_image"


class ModelNotFound(ModelsError):
    """No such classifier, extractor or version; the message lists those there are."""

    code = "model_not_found"


class NoDecoder(ModelsError):
    """No process that decodes pictures comes up."""

    code = "no_decoder"


class ArtifactError(ModelsError):
    """An artifact of the store cannot be used."""

    code = "bad_artifact"


class CorruptArtifact(ArtifactError):
    """A file is missing, unexpected, or not the one that the manifest names."""

    code = "corrupt_artifact"


class UnsafePickle(ArtifactError):
    """A pickle names something outside the allow-list."""

    code = "unsafe_pickle"


class GoldenMismatch(ArtifactError):
    """The loaded model does not repeat the outputs stored with it."""

    code = "golden_mismatch"


class WeightsError(ArtifactError):
    """A network's weights cannot be had, or do not fit the network."""

    code = "bad_weights"


class ServerError(ModelsError):
    """A server that was asked for answers gives none."""

    code = "no_answer"


class HeadFailed(ModelsError):
    """A head that was proved when it was loaded raised on features; the cause is chained."""

    code = "head_failed"


class EngineError(ArtifactError):
    """No engine of this machine can run the extractor."""

    code = "no_engine"
