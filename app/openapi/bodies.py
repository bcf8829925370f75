"""The bodies that are read by hand, as FastAPI's `openapi_extra`: a form, the bytes themselves, or JSON."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi.openapi.constants import REF_TEMPLATE
from pydantic import BaseModel, Field, WithJsonSchema

from app.oip.messages import InferRequest

Extra = dict[str, Any]

BINARY: Extra = {"schema": {"type": "string", "format": "binary"}}
File = Annotated[bytes, WithJsonSchema(BINARY["schema"])]

DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mMQsbkDAAGUAS0kXeihAAAAAElFTkSuQmCC"
"""A PNG of one blue pixel, in base64."""


class ImageForm(BaseModel):
    """A form with an image; the field may be called `data` instead."""

    file: File


class ImageJson(BaseModel):
    """An image within JSON."""

    image: str = Field(
        description="base64, or a data URI; addresses are not fetched", json_schema_extra={"format": "byte"}
    )


class ImagesForm(BaseModel):
    """A form with several images; a zip among them stands for the pictures in it."""

    files: list[File] = Field(min_length=1)


COMPONENTS: tuple[type[BaseModel], ...] = (ImageForm, ImageJson, ImagesForm, InferRequest)
"""What the bodies below refer to."""


def _body(description: str, content: dict[str, Extra]) -> Extra:
    return {"requestBody": {"required": True, "description": description, "content": content}}


def _of(model: type[BaseModel], **more: Any) -> Extra:
    return {"schema": {"$ref": REF_TEMPLATE.format(model=model.__name__)}, **more}


IMAGE = _body(
    "JPEG, PNG, WebP, GIF (first frame), BMP, TIFF or AVIF.",
    {
        "multipart/form-data": _of(ImageForm),
        "image/*": BINARY,
        "application/octet-stream": BINARY,
        "application/json": _of(ImageJson, example={"image": DOT}),
    },
)
IMAGES = _body(
    "Images as repeated fields `files`, or a zip of them.",
    {"multipart/form-data": _of(ImagesForm), "application/zip": BINARY},
)
TENSORS = _body(
    "JSON; with tensors as bytes behind it where `Inference-Header-Content-Length` says where it ends.",
    {
        "application/json": _of(
            InferRequest,
            example={
                "inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": [DOT]}],
                "outputs": [{"name": "probabilities", "parameters": {"classification": 2}}],
            },
        ),
        "application/octet-stream": BINARY,
    },
)
