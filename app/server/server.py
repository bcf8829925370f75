"""The process: one listener, our own signals, and an end that loses no request.

On SIGTERM or SIGINT the server is no longer ready, but goes on listening: new work is refused with 503 while
what was accepted finishes, who has connected by then is answered, and it exits with 0. uvicorn alone would close its
listener at once and exit 143. A server one of whose workers died ends in the same way, but with 1, so that whoever
started it starts another.
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
from contextlib import contextmanager, suppress
from typing import cast

import structlog
import uvicorn
from fastapi import FastAPI

from app.errors import BadKeysFile
from app.inference.model_loading import LoadedModels, Loader
from app.main import create_app
from app.server.http_protocol import BoundedHttpProtocol, protocol_class
from app.server.malloc import IdleDetector, trim_heap
from app.settings import Settings
from app.state import AppState

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_BACKLOG = 2048
_LAST_REQUESTS_S = 1.0
_KEEP_ALIVE_S = 75  # longer than load balancers keep theirs (60 s): who closes first must not be the one who is asked
_GARBAGE = 10_000  # objects; at Python's 700, with 256 requests in flight, a twentieth of all time goes into looking

logger = structlog.get_logger("app")


class Server(uvicorn.Server):
    """uvicorn's server with a drain, and with an exit code."""

    def __init__(self, config: uvicorn.Config, state: AppState) -> None:
        """Serve `config.app`, which holds `state`."""
        super().__init__(config)
        self.exit_code = 0
        self._state, self._lifecycle = state, state.lifecycle
        self._drain_until = float("inf")
        self._was_told = False
        self._rest = IdleDetector()

    def fail(self) -> None:
        """Stop now, and exit with 1."""
        self.exit_code = 1
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Hear signals on the event loop while the server runs."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._on_signal, number)
        if not sys.stderr.isatty():  # there it means that the terminal is closed, and ends the server as ever
            loop.add_signal_handler(signal.SIGHUP, self._state.reload.set)
        try:
            yield
        finally:
            for number in (*_SIGNALS, signal.SIGHUP):
                loop.remove_signal_handler(number)

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: is it over?"""
        if await super().on_tick(counter):
            return True
        if not self._lifecycle.in_flight and self._rest.became_idle(self.server_state.total_requests):
            asyncio.get_running_loop().run_in_executor(None, trim_heap)
        if not self._lifecycle.draining:
            if not self._state.is_alive:
                self._give_up()
            return False
        late = time.monotonic() >= self._drain_until
        if late and self._lifecycle.in_flight:
            logger.warning("gave up waiting for requests", unfinished=self._lifecycle.in_flight)
        return late or not self._lifecycle.in_flight

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the listener, but answer everybody who was let in; uvloop alone would reset their connections."""
        waiting = [each for listener in sockets or [] for each in _accepted(listener)]
        for server in self.servers:
            server.close()  # at once: who connects after this line is refused
        for each in waiting:
            await asyncio.get_running_loop().connect_accepted_socket(self._connection, each)
        until = time.monotonic() + _LAST_REQUESTS_S
        while self._is_owed_requests() and time.monotonic() < until:  # noqa: ASYNC110 - uvicorn tells nobody
            await asyncio.sleep(0.01)
        await super().shutdown(sockets)

    def _is_owed_requests(self) -> bool:
        return any(cast(BoundedHttpProtocol, each).owes_request for each in self.server_state.connections)

    def _connection(self) -> asyncio.Protocol:
        return self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    def _on_signal(self, number: int) -> None:
        if self._was_told:
            logger.warning("a second signal: stopping at once", unfinished=self._lifecycle.in_flight)
            os._exit(128 + number)
        self._was_told = True
        if not self._lifecycle.draining:  # else a worker died, and it is about to end
            logger.info("draining", signal=signal.Signals(number).name, in_flight=self._lifecycle.in_flight)
            self._drain()

    def _give_up(self) -> None:
        logger.critical(
            "What runs a network (thread or device) or decodes pictures has died. What was accepted finishes, then the "
            "server ends with 1.",
            in_flight=self._lifecycle.in_flight,
        )
        self.exit_code = 1
        self._drain()

    def _drain(self) -> None:
        self._lifecycle.drain()
        self._drain_until = time.monotonic() + self._state.settings.drain_s


def listen(host: str, port: int) -> socket.socket:
    """Open the listener; raises OSError."""
    is_ipv6 = ":" in host
    return socket.create_server(
        (host, port),
        family=socket.AF_INET6 if is_ipv6 else socket.AF_INET,
        backlog=_BACKLOG,
        dualstack_ipv6=host == "::" and socket.has_dualstack_ipv6(),
    )


def _accepted(listener: socket.socket) -> Iterator[socket.socket]:
    """Whom the system has let in, and nobody has taken up yet."""
    listener.setblocking(False)
    with suppress(OSError):  # nobody is left
        while True:
            yield listener.accept()[0]


def serve(settings: Settings, load_models: Loader) -> int:
    """Run the server until a signal or a failure ends it; the process's exit code."""
    began = time.monotonic()
    try:
        listener = listen(settings.host, settings.port)
    except OSError as error:
        logger.critical(_cannot_listen(settings, error))
        return 1
    address = _address(settings.host, listener)

    def announce(loaded: LoadedModels) -> None:
        names = ", ".join(f"{model.name}@{model.version}" for model in loaded.catalog.classifiers)
        engines = ", ".join(sorted({extractor.engine.name for extractor in loaded.catalog.extractors}))
        line = f"Ready after {time.monotonic() - began:.1f} s with {names} on {engines}. Open {address}"
        gc.collect()
        trim_heap()
        gc.freeze()  # full collections no longer look through models and libraries, while every request waits
        gc.set_threshold(_GARBAGE)
        logger.info(line)

    try:
        app = create_app(
            settings, load_models=load_models, warm=True, on_ready=announce, on_failure=lambda: server.fail()
        )
    except BadKeysFile as error:
        logger.critical(str(error))
        return 1
    state: AppState = app.state.held
    server = Server(_config(app, settings), state)
    logger.info("Loading the models.")
    server.run([listener])
    return server.exit_code


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


def _cannot_listen(settings: Settings, error: OSError) -> str:
    other = settings.port + 1 if settings.port else 8000
    where, why = f"{settings.host} port {settings.port}", error.strerror or error
    return f"Cannot listen on {where}: {why}. Choose another: APP_PORT={other}"


def _address(host: str, listener: socket.socket) -> str:
    everywhere = host in ("0.0.0.0", "::")  # noqa: S104 - compared, not bound
    shown = "127.0.0.1" if everywhere else f"[{host}]" if ":" in host else host
    return f"http://{shown}:{listener.getsockname()[1]}/"
