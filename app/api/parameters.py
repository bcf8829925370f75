"""What a caller may set besides the body, described once for every address that takes it."""

from __future__ import annotations

from typing import Annotated

from fastapi import Header, Path, Query
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from app.api.model_selection import ONE, SEVERAL
from app.oip.messages import HEADER_LENGTH

Absent = SkipJsonSchema[None]
"""None for a parameter that is not sent; a client cannot send it, so the document does not know it."""

_Count = Annotated[int, Field(ge=1)]
_Milliseconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]

ModelPath = Annotated[str, Path(description="name of a model, as `/v1/models` lists it", examples=["cifar10"])]
VersionPath = Annotated[int, Path(ge=1, description="version of the model", examples=[2])]
Models = Annotated[
    Annotated[str, Field(max_length=1000, json_schema_extra={"pattern": SEVERAL})] | Absent,
    Query(description="`NAME`, `NAME@VERSION`, or several with commas for `results`", examples=["cifar10"]),
]
Model = Annotated[
    Annotated[str, Field(max_length=1000, json_schema_extra={"pattern": ONE})] | Absent,
    Query(description="`NAME` or `NAME@VERSION`", examples=["cifar10"]),
]
Version = Annotated[
    _Count | Absent, Query(description="version of the one model that is named; by default its newest", examples=[2])
]
TopK = Annotated[int, Query(ge=1, description="classes to return at most; more than there are gives all")]
Threshold = Annotated[float, Query(ge=0, le=1, allow_inf_nan=False, description="least score to return")]
TimeoutMs = Annotated[
    _Milliseconds | Absent,
    Header(
        alias="X-Request-Timeout-Ms",
        description="Give up after this many milliseconds: 503 if that cannot be met, 504 when they have passed.",
        examples=[2000],
    ),
]
HeaderLength = Annotated[
    Annotated[str, Field(json_schema_extra={"pattern": "^[1-9][0-9]{0,11}$"})] | Absent,
    Header(alias=HEADER_LENGTH, description="Bytes of JSON at the beginning of the body, where tensors follow it."),
]
