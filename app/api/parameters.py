"""Path, query and header parameters, described once for all routes that use them."""

from __future__ import annotations

from typing import Annotated

from fastapi import Header, Path, Query
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from app.api.model_selection import LIST_PATTERN, SINGLE_PATTERN
from app.oip.messages import HEADER_LENGTH

Absent = SkipJsonSchema[None]
"""None for a parameter that is not sent. Clients cannot send null, so the API document omits it."""

_Count = Annotated[int, Field(ge=1)]
_Milliseconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]

ModelPath = Annotated[str, Path(description="model name, as listed by `/v1/models`", examples=["cifar10"])]
VersionPath = Annotated[int, Path(ge=1, description="model version", examples=[2])]
Models = Annotated[
    Annotated[str, Field(max_length=1000, json_schema_extra={"pattern": LIST_PATTERN})] | Absent,
    Query(
        description="`NAME`, `NAME@VERSION`, or several separated by commas, which give `results`", examples=["cifar10"]
    ),
]
Model = Annotated[
    Annotated[str, Field(max_length=1000, json_schema_extra={"pattern": SINGLE_PATTERN})] | Absent,
    Query(description="`NAME` or `NAME@VERSION`", examples=["cifar10"]),
]
Version = Annotated[
    _Count | Absent, Query(description="version, if one model is named; default: the newest", examples=[2])
]
TopK = Annotated[int, Query(ge=1, description="maximum number of classes to return")]
Threshold = Annotated[
    float, Query(ge=0, le=1, allow_inf_nan=False, description="minimum score of the classes to return")
]
TimeoutMs = Annotated[
    _Milliseconds | Absent,
    Header(
        alias="X-Request-Timeout-Ms",
        description="Time limit in milliseconds: 503 if it cannot be met, 504 when it has passed.",
        examples=[2000],
    ),
]
HeaderLength = Annotated[
    Annotated[str, Field(json_schema_extra={"pattern": "^[1-9][0-9]{0,11}$"})] | Absent,
    Header(
        alias=HEADER_LENGTH, description="Size in bytes of the JSON at the start of the body, if binary tensors follow."
    ),
]
