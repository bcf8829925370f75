"""Settings of the server, read from environment variables `APP_*`."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Literal

import limits
from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app import hosts
from models.artifacts.store import DEFAULT_STORE
from models.decoding.limits import DEFAULT_LIMITS, Limits
from models.engines.selection import EngineName, Precision

PREFIX = "APP_"


class Settings(BaseSettings):
    """All settings of the server. Each field is read from the environment variable `APP_` + its name in capitals."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True, validate_default=True
    )

    host: str = Field("127.0.0.1", description="Address to listen on. `0.0.0.0`: all network interfaces.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on. `0`: any free port.")
    root_path: str = Field(
        "",
        pattern=r"^(/[^/]+)*$",
        description="Path prefix that a reverse proxy strips before forwarding, such as `/vision`.",
    )
    allowed_hosts: str = Field(
        "",
        description="Hosts that requests may name in their `Host` header, separated by commas: names, IP addresses, "
        "`*.example.org` for all subdomains, or `*` for any. Others get 421. Unset: `localhost`, `*.localhost` and "
        "loopback addresses if `APP_HOST` is one of these, else any. It must not be empty.",
    )
    store: Path = Field(
        DEFAULT_STORE, description="Model store: folder of extractors and classifiers (default: the shipped store)."
    )
    store_poll_s: float = Field(
        5,
        ge=0,
        description="Seconds between checks of the model store for changes; changed models are reloaded. "
        "`0`: reload only on SIGHUP.",
    )
    default_model: str = Field(
        "imagenet",
        description="Classifier used when a request names none: `NAME` or `NAME@VERSION`. It must exist. "
        "If the variable is not set and there is no `imagenet`: the first classifier by name.",
    )
    max_body_bytes: int = Field(
        DEFAULT_LIMITS.max_bytes,
        ge=1,
        description="Maximum size of an image in bytes. A body may be larger by what a form or base64 adds.",
    )
    read_timeout_s: float = Field(
        20,
        gt=0,
        description="Timeout in seconds for the request head, for idle gaps in the body, and for the whole body, "
        "which gets 1 s more per 10 kB.",
    )
    max_images: int = Field(
        64, ge=1, description="Maximum number of images in one request to `/v1/classify/batch` or `/v2`."
    )
    max_batch_request_bytes: int = Field(
        100_000_000,
        ge=1,
        description="Maximum size in bytes of such a request, and of its unpacked zip archives. "
        "Each image is still limited by `APP_MAX_BODY_BYTES`.",
    )
    max_buffered_bytes: int = Field(
        256_000_000,
        ge=1,
        description="Memory budget in bytes for the request bodies and unpacked zip archives of all requests together. "
        "Requests beyond it are rejected with 503. A single request may exceed it while no other is buffered.",
    )
    max_pixels: int = Field(
        DEFAULT_LIMITS.max_pixels,
        ge=1,
        le=DEFAULT_LIMITS.max_pixels * 3,
        description="Maximum width times height of an image, checked before decoding.",
    )
    large_image_pixels: int = Field(
        DEFAULT_LIMITS.max_pixels,
        ge=1,
        description="Decides which images count as large: those with more than 1/4 of this number of pixels. They wait "
        "for each other and are decoded one at a time in a separate process; other images in one process per core, "
        "but formats other than JPEG with more than 1/16 of this number on half of the cores. Decoding needs up to "
        "20 bytes of memory per pixel.",
    )
    max_side: int = Field(
        DEFAULT_LIMITS.max_side, ge=1, description="Maximum length in pixels of the longer side of an image."
    )
    max_batch: int | None = Field(
        None,
        ge=1,
        description="Maximum number of images in one inference batch. Empty: 32 on a GPU; on a CPU 16, or 8 for "
        "networks with an input above 160 px.",
    )
    max_batch_latency_ms: float = Field(
        100,
        gt=0,
        description="Maximum run time in milliseconds of a batch of more than one image on a CPU, applied once run "
        "times have been measured. Lower values waste less work on cancelled requests but cost more time per image.",
    )
    max_delay_ms: float = Field(
        0,
        ge=0,
        description="Milliseconds that a batch waits for more images. `0`: it runs as soon as the engine is free.",
    )
    queue_size: int = Field(
        256,
        ge=1,
        description="Maximum number of images admitted per extractor, waiting or running. More are rejected with 503.",
    )
    deadline_ms: float | None = Field(
        None,
        ge=0,
        description="Default time limit for a response in milliseconds, for requests without `X-Request-Timeout-Ms`. "
        "Empty or `0`: no limit.",
    )
    engine: EngineName = Field(
        "auto",
        description="Inference engine: `openvino` (CPU), `tensorflow` (GPU or CPU), or `auto` (the fastest available).",
    )
    precision: Precision = Field(
        "auto",
        description="Numeric precision: `int8`, `float16`, `bfloat16` or `float32`. `auto`: the lowest one that this "
        "machine supports and that comes as close to the model's golden outputs as its manifest requires.",
    )
    threads: int | None = Field(None, ge=1, description="Threads of the CPU engine. Empty: all available cores.")
    api_keys_file: Path | None = Field(
        None,
        description="File of API keys, created by `python -m app.keys`. Unset: no authentication. "
        "It must not be empty.",
    )
    rate_limit: str = Field(
        "",
        description="Rate limit per API key, or per client address without keys: `600/minute`, or several such as "
        "`10/second; 600/minute`. Empty: unlimited.",
    )
    rate_limit_url: str = Field(
        "",
        pattern=r"^(rediss?://.+)?$",
        description="Redis that counts requests for several servers: `redis://host:6379`. "
        "Empty: each server counts its own.",
    )
    max_concurrent: int | None = Field(
        None,
        ge=1,
        description="Maximum number of concurrent requests per API key, or per client address without keys. "
        "Empty: unlimited.",
    )
    cors_origins: str = Field(
        "",
        description="Origins whose pages may send POST and PUT and read responses (CORS), separated by spaces: "
        "`https://example.org`.",
    )
    trusted_proxies: str = Field(
        "",
        description="Addresses or networks of proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` headers are "
        "trusted, separated by commas.",
    )
    drain_s: float = Field(30, ge=0, description="Seconds that accepted requests have to finish after SIGTERM.")
    metrics_public: bool = Field(
        True,
        description="Serve `/metrics` without an API key. If false, it requires a key; without an API keys file it is "
        "not served. It must not be empty.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Minimum severity to log. `debug` adds probes and metrics scrapes to the access log."
    )
    log_images: bool = Field(
        False,
        description="Log size, format and SHA-256 of each image. Nothing else about an image is ever logged.",
    )
    log_json: bool | None = Field(
        None, description="Log one JSON object per line. Empty: readable lines on a terminal, JSON otherwise."
    )

    @field_validator("rate_limit")
    @classmethod
    def _check_rate_limit(cls, value: str) -> str:
        if value:
            limits.parse_many(value)  # raises ValueError
        return value

    @field_validator("allowed_hosts")
    @classmethod
    def _check_hosts(cls, value: str) -> str:
        if value:
            for pattern in value.split(","):
                hosts.check_pattern(pattern.strip())  # raises ValueError
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _check_networks(cls, value: str) -> str:
        for network in filter(None, value.split(",")):
            ipaddress.ip_network(network.strip())  # raises ValueError, also for host names and "*", which are not safe
        return value

    @property
    def image_limits(self) -> Limits:
        """Size limits of an image."""
        return Limits(self.max_body_bytes, self.max_pixels, self.max_side)

    @property
    def host_patterns(self) -> tuple[str, ...]:
        """Hosts that requests may name."""
        if self.allowed_hosts:
            return tuple(self.allowed_hosts.split(","))
        return (*hosts.LOOPBACK, self.host) if hosts.is_loopback(self.host) else (hosts.ANY,)

    @property
    def is_default_model_set(self) -> bool:
        """True if the default model was set explicitly."""
        return "default_model" in self.model_fields_set


def variable_name(field: str) -> str:
    """Return the environment variable of a field."""
    return f"{PREFIX}{field.upper()}"
