"""What the API answers, as data; OpenAPI is made from it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class _Schema(BaseModel):
    model_config = ConfigDict(frozen=True)


class Prediction(_Schema):
    """One class and its probability."""

    label: str = Field(examples=["cat"])
    index: int = Field(description="place of the class in the model's `classes`", examples=[3])
    score: float = Field(ge=0, le=1, description="probability", examples=[0.94])


class Timing(_Schema):
    """Where the time went, in milliseconds."""

    decode: float = Field(description="decoding and resizing the picture")
    queue: float = Field(description="waiting for a thread to decode and for the network")
    inference: float = Field(description="the network and the heads, for the whole batch")
    total: float = Field(description="from the first byte of the request to the answer")


class ModelAnswer(_Schema):
    """What one model makes of the picture."""

    model: str = Field(examples=["cifar10"])
    version: int = Field(examples=[1])
    predictions: list[Prediction] = Field(description="likeliest first")


class Classification(_Schema):
    """What one model makes of the picture, and what it took."""

    model: str = Field(examples=["cifar10"])
    version: int = Field(examples=[1])
    request_id: str = Field(description="the `X-Request-ID` sent, or one made here")
    predictions: list[Prediction] = Field(description="likeliest first")
    timing_ms: Timing
    batch_size: int = Field(description="pictures that shared the run of the network")


class Comparison(_Schema):
    """What several models make of the picture (`?model=a,b`), and what it took."""

    request_id: str = Field(description="the `X-Request-ID` sent, or one made here")
    results: list[ModelAnswer] = Field(description="in the order in which the models were named")
    timing_ms: Timing
    batch_size: int = Field(description="pictures that shared the run of the network")


class Problem(_Schema):
    """What went wrong, as RFC 9457 has it."""

    type: str = "about:blank"
    title: str = Field(examples=["Unsupported Media Type"])
    status: int = Field(examples=[415])
    detail: str = Field(description="what to do, for people")
    instance: str = Field(description="the path that was asked for", examples=["/v1/classify"])
    code: str = Field(description="stable name, for programs", examples=["unsupported_format"])
    request_id: str


class BatchItem(_Schema):
    """One image of a batch: its `result` (`results` where several models were named) or its `error`."""

    index: int = Field(description="place in the request, from 0")
    filename: str = Field(description="as it was sent, or its path in the zip")
    result: ModelAnswer | None = None
    results: list[ModelAnswer] | None = None
    error: Problem | None = None


class BatchAnswer(_Schema):
    """What became of each image of a batch."""

    request_id: str = Field(description="the `X-Request-ID` sent, or one made here")
    items: list[BatchItem]


class Features(_Schema):
    """What the network makes of an image before any head."""

    extractor: str = Field(examples=["inception_v3_96"])
    version: int = Field(description="of the extractor", examples=[1])
    request_id: str = Field(description="the `X-Request-ID` sent, or one made here")
    features: list[float] = Field(description="pooled, float32")
    timing_ms: Timing
    batch_size: int = Field(description="pictures that shared the run of the network")


class ModelSummary(_Schema):
    """A classifier that can be asked."""

    name: str
    version: int
    default: bool = Field(description="answers when no model is named")
    classes: list[str]
    extractor: str = Field(description="the network below it, shared with other models")


class ModelList(_Schema):
    """Every classifier that can be asked."""

    models: list[ModelSummary]


class ModelDetail(ModelSummary):
    """A classifier, how well it does, and what it is good for."""

    metrics: dict[str, Any] = Field(description="set of labelled images -> figures")
    card: str = Field(description="model card, Markdown")


class V2Tensor(_Schema):
    """A tensor as the Open Inference Protocol describes it."""

    name: str
    datatype: str
    shape: list[int]


class V2Model(_Schema):
    """A model as the Open Inference Protocol describes it."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[V2Tensor]
    outputs: list[V2Tensor]


class V2Server(_Schema):
    """This server as the Open Inference Protocol describes it."""

    name: str
    version: str
    extensions: list[str]


class V2Error(_Schema):
    """What went wrong, as the Open Inference Protocol has it."""

    error: str


class Health(_Schema):
    """The answer of a probe."""

    status: str = Field(examples=["ok"])
