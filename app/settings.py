"""What can be set from outside, by environment variables APP_*."""

from __future__ import annotations

import difflib
import ipaddress
import os
from pathlib import Path
from typing import Literal

import limits
from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from models.artifacts.store import DEFAULT_STORE
from models.decoding.image import DEFAULT_LIMITS, Limits
from models.engines.selection import EngineName, Precision

PREFIX = "APP_"


class Settings(BaseSettings):
    """All settings of the server; each field is the variable APP_ and its name in capitals."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True, validate_default=True
    )

    host: str = Field("127.0.0.1", description="Address to listen on; `0.0.0.0` for every network of the machine.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; `0` takes any that is free.")
    root_path: str = Field(
        "",
        pattern=r"^(/[^/]+)*$",
        description="Prefix that a proxy removes before it forwards, such as `/vision`.",
    )
    store: Path = Field(DEFAULT_STORE, description="Folder of extractors and classifiers (default: the shipped one).")
    store_poll_s: float = Field(
        5,
        ge=0,
        description="Seconds between looks at the store; what has changed is taken up. `0`: only on SIGHUP.",
    )
    default_model: str = Field(
        "cifar10",
        description="Classifier that answers if none is named: `NAME` or `NAME@VERSION`, which must be there. "
        "Not set, and no `cifar10` there: the first by name.",
    )
    max_body_bytes: int = Field(
        DEFAULT_LIMITS.max_bytes,
        ge=1,
        description="Bytes that a request's body may have, counted as they arrive.",
    )
    read_timeout_s: float = Field(
        20,
        gt=0,
        description="Seconds that the head of a request may take, and its body, which has one more for each 10 kB, "
        "and no longer pause.",
    )
    max_images: int = Field(64, ge=1, description="Images that one request to `/v1/classify/batch` or `/v2` may have.")
    max_batch_request_bytes: int = Field(
        100_000_000,
        ge=1,
        description="Bytes that such a request may have, and its zips unpacked; each image as above.",
    )
    max_buffered_bytes: int = Field(
        256_000_000,
        ge=1,
        description="Bytes of bodies, and of zips unpacked, that all requests together may hold; what would be more is "
        "refused with 503, unless it is alone.",
    )
    max_pixels: int = Field(
        DEFAULT_LIMITS.max_pixels,
        ge=1,
        le=DEFAULT_LIMITS.max_pixels * 3,
        description="Width times height that a picture may have, checked before it is decoded.",
    )
    large_image_pixels: int = Field(
        DEFAULT_LIMITS.max_pixels,
        ge=1,
        description="Bounds what is decoded at a time by each process. A JPEG of more than a quarter of it, "
        "or another picture of more than a sixteenth, is large: one of these at a time (of `APP_MAX_PIXELS` at most), "
        "in a process of its own. Beside it, each of the other processes, one for each core, decodes one small picture "
        "at a time. Each pixel may need 20 bytes of memory.",
    )
    max_side: int = Field(DEFAULT_LIMITS.max_side, ge=1, description="Pixels that a picture's longer side may have.")
    max_batch: int | None = Field(
        None, ge=1, description="Pictures that one run of a network takes at most; empty: 16 on a CPU, 32 on a GPU."
    )
    max_batch_latency_ms: float = Field(
        100,
        gt=0,
        description="Milliseconds that a run on a CPU may take if it has more than one picture, as soon as it is known "
        "how long runs take. What is being run is computed even if nobody waits for it any more; shorter runs cost "
        "more time for each picture.",
    )
    max_delay_ms: float = Field(
        0,
        ge=0,
        description="How long a batch waits for pictures that nobody has sent yet; "
        "at `0` it runs as soon as the engine is free.",
    )
    queue_size: int = Field(
        256, ge=1, description="Pictures that one network may have admitted; more are refused with 503."
    )
    deadline_ms: float | None = Field(
        None,
        ge=0,
        description="Time for an answer where `X-Request-Timeout-Ms` gives none; empty or `0`: no limit.",
    )
    engine: EngineName = Field(
        "auto",
        description="What runs the networks: `openvino` (on the CPU), `tensorflow` (on GPUs, or on the CPU), "
        "or `auto`, the faster one that is here.",
    )
    precision: Precision = Field(
        "auto",
        description="`int8`, `float16`, `bfloat16` or `float32`; `auto`: the lowest that this machine has and that "
        "repeats the model's stored outputs closely enough.",
    )
    threads: int | None = Field(None, ge=1, description="Threads of the CPU engine; empty: every core it may use.")
    api_keys_file: Path | None = Field(
        None, description="File of API keys, made by `python -m app.auth.keys`; empty: none is needed."
    )
    rate_limit: str = Field(
        "",
        description="Requests that a key, or without keys an address, may send: `600/minute`, or several as "
        "`10/second; 600/minute`. Empty: any number.",
    )
    rate_limit_url: str = Field(
        "",
        pattern=r"^(rediss?://.+)?$",
        description="Redis that counts them for several servers: `redis://host:6379`. Empty: each counts alone.",
    )
    max_concurrent: int | None = Field(
        None, ge=1, description="Requests that a key or an address may have under way; empty: any number."
    )
    cors_origins: str = Field(
        "", description="Origins whose pages may read answers, with spaces between: `https://example.org`."
    )
    trusted_proxies: str = Field(
        "",
        description="Addresses or networks whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed, with commas.",
    )
    drain_s: float = Field(30, ge=0, description="Seconds that accepted requests have to finish after SIGTERM.")
    metrics_public: bool = Field(
        True, description="Serve `/metrics` to everybody; if not, with a key only, or without keys not at all."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe entries to log; `debug` adds probes and scrapes to the access log."
    )
    log_images: bool = Field(
        False, description="Log size, format and SHA-256 of each picture. Nothing else of a picture is ever logged."
    )
    log_json: bool | None = Field(
        None, description="Log one JSON object a line; empty: on a terminal readable lines, elsewhere JSON."
    )

    @field_validator("rate_limit")
    @classmethod
    def _is_limit(cls, value: str) -> str:
        if value:
            limits.parse_many(value)  # raises ValueError
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, value: str) -> str:
        for each in filter(None, value.split(",")):
            ipaddress.ip_network(each.strip())  # raises ValueError; names and * could be anybody
        return value

    @property
    def limits(self) -> Limits:
        """What a picture may cost."""
        return Limits(self.max_body_bytes, self.max_pixels, self.max_side)

    @property
    def has_chosen_default(self) -> bool:
        """Whether the default model was set, and not merely left as it is."""
        return "default_model" in self.model_fields_set


def variable(field: str) -> str:
    """The environment variable of a field."""
    return f"{PREFIX}{field.upper()}"


def explain(error: ValidationError) -> list[str]:
    """One line for each wrong setting, naming its variable."""
    lines = []
    for problem in error.errors():
        name = variable(str(problem["loc"][0]))
        lines.append(f"{name}={problem['input']}: {problem['msg']}. All settings: docs/operations.md.")
    return lines


def unknown_variables() -> list[str]:
    """One line for each APP_* variable that is no setting: most likely it is misspelt."""
    known = [variable(field) for field in Settings.model_fields]
    lines = []
    for name in sorted(os.environ):
        if name.startswith(PREFIX) and name.upper() not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {close[0]}?" if close else ""
            lines.append(f"{name} is no setting and was ignored.{hint}")
    return lines
