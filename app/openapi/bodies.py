"""Request bodies that the service parses itself, as FastAPI's `openapi_extra`: form, raw bytes or JSON."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi.openapi.constants import REF_TEMPLATE
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from app.oip.messages import InferRequest

Extra = dict[str, Any]

BINARY: Extra = {"schema": {"type": "string", "format": "binary"}}
File = Annotated[bytes, WithJsonSchema(BINARY["schema"])]

ONE_PIXEL_PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mMQsbkDAAGUAS0kXeihAAAAAElFTkSuQmCC"
"""PNG of one blue pixel, base64."""


class ImageForm(BaseModel):
    """A form with one image, in a field of any name."""

    file: File


class ImageJson(BaseModel):
    """An image in JSON."""

    model_config = ConfigDict(extra="forbid")

    image: str = Field(description="base64 or a data URI; URLs are not fetched", json_schema_extra={"format": "byte"})


class ImagesForm(BaseModel):
    """A form with several images; a zip archive counts as the images in it."""

    files: list[File] = Field(min_length=1)


COMPONENTS: tuple[type[BaseModel], ...] = (ImageForm, ImageJson, ImagesForm, InferRequest)
"""Schemas that the bodies below refer to."""


def _body(description: str, content: dict[str, Extra]) -> Extra:
    return {"requestBody": {"required": True, "description": description, "content": content}}


def _content(model: type[BaseModel], **extra: Any) -> Extra:
    return {"schema": {"$ref": REF_TEMPLATE.format(model=model.__name__)}, **extra}


IMAGE = _body(
    "JPEG, PNG, WebP, GIF (first frame), BMP, TIFF, AVIF or HEIC.",
    {
        "multipart/form-data": _content(ImageForm),
        "image/*": BINARY,
        "application/octet-stream": BINARY,
        "application/json": _content(ImageJson, example={"image": ONE_PIXEL_PNG}),
    },
)
IMAGES = _body(
    "Images as files of a form, or a zip archive of images.",
    {"multipart/form-data": _content(ImagesForm), "application/zip": BINARY},
)
TENSORS = _body(
    "JSON, optionally followed by binary tensors; `Inference-Header-Content-Length` is then the size of the JSON.",
    {
        "application/json": _content(
            InferRequest,
            example={
                "inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": [ONE_PIXEL_PNG]}],
                "outputs": [{"name": "probabilities", "parameters": {"classification": 2}}],
            },
        ),
        "application/octet-stream": BINARY,
    },
)
