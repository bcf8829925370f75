"""Run the server process: signals, graceful drain and exit code.

On SIGTERM or SIGINT the server is no longer ready, but keeps listening: it rejects new work with 503 while accepted
requests finish, responds on connections that are already established, and exits with 0. uvicorn alone would close its
listener at once and exit with 143. When a worker has died, the server drains in the same way and exits with 1, so that
a supervisor restarts it.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import structlog
import uvicorn
from fastapi import FastAPI

from app.errors import BadKeysFile
from app.inference.model_loading import LoadedModels, Loader
from app.main import create_app
from app.server.http_protocol import BoundedHttpProtocol, protocol_class
from app.server.idle import IdleDetector
from app.server.listener import accept_backlog, bind_error, listen, url_of
from app.settings import Settings
from app.state import AppState
from models.malloc import trim_heap

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_LAST_REQUESTS_S = 1.0  # for connections that were established before the listener closed
_KEEP_ALIVE_S = 75  # longer than load balancers keep connections (60 s), so that the balancer closes first
_TICKS_PER_S = 10  # calls of uvicorn's `on_tick`
_GC_THRESHOLD = (
    10_000  # objects; with 256 requests in flight, Python's 700 spends a twentieth of the time in collections
)

logger = structlog.get_logger("app")


class Server(uvicorn.Server):
    """uvicorn's server with a graceful drain and an exit code."""

    def __init__(self, config: uvicorn.Config, state: AppState) -> None:
        """Serve `config.app`, whose state is `state`."""
        super().__init__(config)
        self.exit_code = 0
        self._state, self._lifecycle = state, state.lifecycle
        self._drain_deadline = float("inf")
        self._is_signalled = False
        self._idle = IdleDetector()

    def fail(self) -> None:
        """Stop now and exit with 1."""
        self.exit_code = 1
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals on the event loop while the server runs."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._on_signal, number)
        if not sys.stderr.isatty():  # on a terminal, SIGHUP means that it closed, and ends the server
            loop.add_signal_handler(signal.SIGHUP, self._state.manager.request_reload)
        try:
            yield
        finally:
            for number in (*_SIGNALS, signal.SIGHUP):
                loop.remove_signal_handler(number)

    async def on_tick(self, counter: int) -> bool:
        """Return True when the server should stop; called ten times a second."""
        if await super().on_tick(counter):
            return True
        if counter % _TICKS_PER_S == 0:
            self._check_connections()
        in_flight = self._lifecycle.requests_in_flight
        if not in_flight and self._idle.became_idle(self.server_state.total_requests):
            asyncio.get_running_loop().run_in_executor(None, trim_heap)
        if not self._lifecycle.is_draining:
            if not self._state.manager.is_alive:
                self._drain_after_worker_death()
            return False
        is_late = time.monotonic() >= self._drain_deadline
        if is_late and in_flight:
            logger.warning("The drain timed out; aborting the remaining requests.", unfinished=in_flight)
        return is_late or not in_flight

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the listener and serve the connections in its backlog, which uvloop alone would reset."""
        backlog = [connection for listener in sockets or [] for connection in accept_backlog(listener)]
        for server in self.servers:
            server.close()  # from now on the kernel refuses new connections
        for connection in backlog:
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection)
        deadline = time.monotonic() + _LAST_REQUESTS_S
        while self._awaits_requests() and time.monotonic() < deadline:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        for protocol in self._connections():
            protocol.shutdown()  # before uvicorn, which waits for connections that linger
        await super().shutdown(sockets)

    def _awaits_requests(self) -> bool:
        return any(connection.awaits_request for connection in self._connections())

    def _check_connections(self) -> None:
        now = time.monotonic()
        for connection in self._connections():
            connection.check_progress(now)

    def _connections(self) -> list[BoundedHttpProtocol]:
        return cast(list[BoundedHttpProtocol], list(self.server_state.connections))

    def _protocol(self) -> asyncio.Protocol:
        return self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    def _on_signal(self, number: int) -> None:
        in_flight = self._lifecycle.requests_in_flight
        if self._is_signalled:
            logger.warning("Second signal: stopping at once.", unfinished=in_flight)
            os._exit(128 + number)
        self._is_signalled = True
        if not self._lifecycle.is_draining:  # otherwise a worker died, and the server is already draining
            logger.info("draining", signal=signal.Signals(number).name, in_flight=in_flight)
            self._drain()

    def _drain_after_worker_death(self) -> None:
        logger.critical(
            "An inference or decode worker died; draining, then exiting with status 1.",
            in_flight=self._lifecycle.requests_in_flight,
        )
        self.exit_code = 1
        self._drain()

    def _drain(self) -> None:
        self._lifecycle.drain()
        self._drain_deadline = time.monotonic() + self._state.settings.drain_s


def serve(settings: Settings, load_models: Loader) -> int:
    """Run the server until a signal or a failure ends it; return the exit code of the process."""
    started = time.monotonic()
    try:
        listener = listen(settings.host, settings.port)
    except OSError as error:
        logger.critical(bind_error(settings, error))
        return 1
    url = url_of(settings.host, listener)

    def on_ready(loaded: LoadedModels) -> None:
        names = ", ".join(f"{model.name}@{model.version}" for model in loaded.catalog.classifiers)
        engines = ", ".join(sorted({extractor.engine.name for extractor in loaded.catalog.extractors}))
        line = f"Ready after {time.monotonic() - started:.1f} s with {names} on {engines}. Open {url}"
        _tune_garbage_collection()
        logger.info(line)

    try:
        app = create_app(
            settings,
            load_models=load_models,
            warm_decoder=True,
            on_ready=on_ready,
            on_failure=lambda: server.fail(),
        )
    except BadKeysFile as error:
        logger.critical(str(error))
        return 1
    state: AppState = app.state.app_state
    server = Server(_config(app, settings), state)
    logger.info("Loading the models.")
    server.run([listener])
    return server.exit_code


def _tune_garbage_collection() -> None:
    """Return unused memory to the system, and exempt models and libraries from later collections."""
    gc.collect()
    trim_heap()
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD)


def _config(app: FastAPI, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="uvloop",
        http=protocol_class(settings.read_timeout_s),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies,
        root_path=settings.root_path,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=1,  # the drain is over by then
    )
