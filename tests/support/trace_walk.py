"""Trace one upload or one training run through the modules: the source of the walks in docs/architecture.md.

    python -m tests.support.trace_walk upload                          a form upload to a server with the shipped models
    python -m tests.support.trace_walk recipe NAME --data DIR          a training run into a temporary store; takes the
                                                                       options of `python -m training run`

Only calls between modules of this project count: a module is *entered* when a function of it is called from another
module, or from the event loop. Not an entry: reading a property, resuming a coroutine after an await, calling the same
module again in a row, and reading the request by the accessors in `app/asgi.py` and `app/request_context.py`.
"""

from __future__ import annotations

import argparse
import functools
import inspect
import os
import signal
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from tests.support.paths import ROOT
from tests.support.polling import wait_until

_IMAGE = ROOT / "app/page/static/examples/cat.jpg"
_ACCESSORS = ("app/asgi.py", "app/request_context.py")
_PACKAGES = tuple(f"{ROOT / package}{os.sep}" for package in ("app", "models", "training"))


_RESUMABLE = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
_THREADS = {"MainThread": "event loop", "client": "client", "decode": "decode worker"}


@dataclass
class Entry:
    """One entry into a module: the function called first, and the functions that the module then called in itself."""

    thread: str
    module: str
    functions: list[str] = field(default_factory=list)


class Tracer:
    """Records calls between modules in all threads while it is enabled."""

    def __init__(self) -> None:
        """Record nothing yet; call `install` before other threads start."""
        self.entries: list[Entry] = []
        self.is_enabled = False
        self._resumable: dict[int, FrameType] = {}  # keeps frames of coroutines alive, so that their ids stay unique

    def install(self) -> None:
        """Trace this thread and the threads that it starts."""
        threading.setprofile(self._profile)
        sys.setprofile(self._profile)

    def _profile(self, frame: FrameType, event: str, _argument: Any) -> None:
        if not self.is_enabled or event != "call" or not frame.f_code.co_filename.startswith(_PACKAGES):
            return
        if frame.f_code.co_flags & _RESUMABLE:
            if id(frame) in self._resumable:
                return
            self._resumable[id(frame)] = frame
        if not frame.f_code.co_flags & inspect.CO_OPTIMIZED:  # the body of a module or class, which an import runs
            return
        name = frame.f_code.co_qualname
        if name.endswith(">") or _is_property(frame) or _is_periodic(frame):
            return
        module, thread = _module(frame), _THREADS.get(threading.current_thread().name, "batch worker")
        if module in _ACCESSORS:
            return
        own = next((entry for entry in reversed(self.entries) if entry.module == module), None)
        is_repeated = bool(own) and own is self.entries[-1]  # such as a library that reads a file in parts
        if own and (is_repeated or _caller(frame) == module):
            own.functions.append(name)
        else:
            self.entries.append(Entry(thread, module, [name]))


def _is_property(frame: FrameType) -> bool:
    owner, name = type(frame.f_locals.get("self")), frame.f_code.co_name
    return isinstance(getattr(owner, name, None), (property, functools.cached_property))


def _is_periodic(frame: FrameType | None) -> bool:
    """Return True for calls from the periodic tick of the server, which runs ten times a second."""
    while frame and frame.f_code.co_name != "on_tick":
        frame = frame.f_back
    return frame is not None


def _module(frame: FrameType) -> str:
    return str(Path(frame.f_code.co_filename).relative_to(ROOT))


def _caller(frame: FrameType) -> str | None:
    """Return the module of this project that called, past frames of libraries."""
    caller = frame.f_back
    while caller and not caller.f_code.co_filename.startswith(_PACKAGES):
        caller = caller.f_back
    return _module(caller) if caller else None


def trace_upload(tracer: Tracer) -> None:
    """Serve the shipped models and trace the second of two uploads; the first one warms the decode workers."""
    from app.__main__ import main

    os.environ |= {"APP_PORT": "0", "APP_LOG_LEVEL": "info", "APP_LOG_JSON": "true"}
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="cat.jpg"\r\n\r\n'
    body = head + _IMAGE.read_bytes() + b"\r\n--b--\r\n"

    def client(address: Callable[[], str]) -> None:
        for is_traced in (False, True):
            request = urllib.request.Request(
                f"{address()}v1/classify", body, {"Content-Type": "multipart/form-data; boundary=b"}
            )
            tracer.is_enabled = is_traced
            with urllib.request.urlopen(request) as response:
                response.read()
            time.sleep(0.2)
            tracer.is_enabled = False
        os.kill(os.getpid(), signal.SIGTERM)

    log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
    os.dup2(log.fileno(), 2)

    def text() -> str:
        log.seek(0)
        return log.read()

    def address() -> str:
        wait_until(lambda: "Open http" in text())
        return text().partition("Open ")[2].partition('"')[0].strip()

    threading.Thread(target=client, args=(address,), name="client").start()
    tracer.install()
    main()
    sys.setprofile(None)


def trace_decode_worker(tracer: Tracer) -> None:
    """Trace the function that decode workers run, in this process instead of another one, on the same image."""
    from models.artifacts.store import DEFAULT_STORE, Store
    from models.decoding.limits import Limits
    from models.decoding.protocol import DecodeRequest
    from models.decoding.worker import _handle

    spec = Store(DEFAULT_STORE).classifier("cifar10").manifest.preprocess

    def decode() -> None:
        tracer.is_enabled = True
        _handle(DecodeRequest((spec.resize_spec,), Limits()), _IMAGE.read_bytes())
        tracer.is_enabled = False

    thread = threading.Thread(target=decode, name="decode")
    thread.start()
    thread.join()


def trace_recipe(tracer: Tracer, name: str, data: Path, options: list[str]) -> None:
    """Run a recipe into a temporary copy of the shipped store."""
    import shutil

    from training.__main__ import app

    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "models/store", f"{folder}/store")
        arguments = ["run", name, "--data", str(data), "--store", f"{folder}/store", *options]
        tracer.install()
        tracer.is_enabled = True
        try:
            app([*arguments, "--cache", f"{folder}/cache", "--report", f"{folder}/report"], standalone_mode=False)
        finally:
            tracer.is_enabled = False
            sys.setprofile(None)


def write_steps(entries: list[Entry]) -> None:
    """Print each entry as a row of a Markdown table, and the numbers of modules and entries."""
    print("| step | where | module | functions |\n|---|---|---|---|")
    for step, entry in enumerate(entries, start=1):
        functions = ", ".join(f"`{name}`" for name in list(dict.fromkeys(entry.functions))[:4])
        print(f"| {step} | {entry.thread} | `{entry.module}` | {functions} |")
    _write_counts(entries)


def write_first_entries(entries: list[Entry]) -> None:
    """Print the modules of a long run in the order of their first entry, with the functions called first."""
    print("| step | module | entered by way of |\n|---|---|---|")
    seen: dict[str, list[str]] = {}
    for entry in entries:
        seen.setdefault(entry.module, []).extend(entry.functions[:1])
    for step, (module, functions) in enumerate(seen.items(), start=1):
        print(f"| {step} | `{module}` | {', '.join(f'`{name}`' for name in list(dict.fromkeys(functions))[:4])} |")
    _write_counts(entries)


def _write_counts(entries: list[Entry]) -> None:
    counts = Counter(entry.module for entry in entries)
    print(f"\n{len(entries)} entries into {len(counts)} modules; {len(entries) - len(counts)} of them are re-entries.")
    print("Entered more than twice:", {name: count for name, count in counts.most_common() if count > 2} or "none")


def main() -> None:
    """Parse the command line, trace and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("upload")
    recipe = commands.add_parser("recipe")
    recipe.add_argument("name")
    recipe.add_argument("--data", type=Path, required=True)
    options, run_options = parser.parse_known_args()
    tracer = Tracer()
    if options.command == "upload":
        trace_upload(tracer)
        upload, tracer.entries = [entry for entry in tracer.entries if entry.thread != "client"], []
        trace_decode_worker(tracer)
        sent = next(index for index, entry in enumerate(upload) if entry.module == "models/decoding/protocol.py")
        write_steps([*upload[:sent], *tracer.entries, *upload[sent:]])
        sys.stdout.flush()
        os._exit(0)
    trace_recipe(tracer, options.name, options.data, run_options)
    write_first_entries(tracer.entries)


if __name__ == "__main__":
    main()
