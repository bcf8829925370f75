"""Builds and runs the Dockerfile without Docker: `python tests/support/replay_dockerfile.py`, as root on Debian.

Each stage of the Dockerfile is a chroot in which its steps run. A stage that begins with
`FROM python:3.12-slim-trixie` starts from a minimal Debian trixie with the Python of that release. Then the command of
the last stage runs like in a container: as the user of the stage without capabilities, on a read-only root with an
empty /tmp. The replay checks /readyz, the health check, the classification of an image, and the exit on SIGTERM.
Needs debootstrap and a network.
"""

import argparse
import json
import os
import re
import shlex
import shutil
import signal
import socket
import string
import struct
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


class Instruction(NamedTuple):
    """One step: `COPY --from=builder /srv /srv` has the name COPY and the text `--from=builder /srv /srv`."""

    name: str
    text: str

    def flags(self) -> tuple[dict[str, str], str]:
        """Split the text into the leading --name=value options and the rest."""
        flags, rest = {}, self.text
        while match := re.match(r"--([a-z-]+)=(\S+)\s+", rest):
            flags[match[1]] = match[2]
            rest = rest[match.end() :]
        return flags, rest


def instructions(dockerfile: Path) -> list[Instruction]:
    """Read the steps, without comments and with continued lines joined."""
    lines = [line for line in dockerfile.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [Instruction(*line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


def expand(text: str, arguments: dict[str, str]) -> str:
    """Replace `${NAME}`, and `${NAME:+TEXT}` by TEXT if the argument is not empty, as Docker does in FROM."""

    def optional(match: re.Match[str]) -> str:
        return match[2] if arguments[match[1]] else ""

    return string.Template(re.sub(r"\$\{(\w+):\+((?:[^{}]|\{\w+\})*)\}", optional, text)).substitute(arguments)


@dataclass
class Stage:
    """The root file system of a build stage, and its metadata in the image."""

    root: Path
    env: dict[str, str]
    args: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"
    user: str = "0:0"
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)

    def expand(self, text: str) -> str:
        return string.Template(text).safe_substitute(self.args | self.env)

    def host_path(self, path: str) -> Path:
        """Return the path outside the chroot of a path of the stage."""
        return self.root / (PurePosixPath(self.workdir) / path).relative_to("/")

    def wrap(self, command: list[str]) -> list[str]:
        """Return the command line that runs a command in the chroot as the user of the stage."""
        uid, gid = self.user.split(":")
        drop = ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--no-new-privs"]
        if uid != "0":
            drop += ["--bounding-set=-all", "--inh-caps=-all"]
        variables = [f"{name}={value}" for name, value in self.env.items()]
        environment = ["env", "--ignore-environment", f"--chdir={self.workdir}", *variables]
        return ["chroot", str(self.root), *drop, *environment, *command]


def report(text: str) -> None:
    print(f"\033[1m{text}\033[0m" if sys.stdout.isatty() else text, flush=True)


def mount(kind: str, target: Path, *options: str) -> None:
    target.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", kind, *options, kind, target], check=True)


class Build:
    """Runs the steps of a Dockerfile, with one folder for each stage."""

    def __init__(self, context: Path, work_folder: Path) -> None:
        self.context = context
        self.work_folder = work_folder
        self.stages: dict[str, Stage] = {}
        ignore = [line for line in (context / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
        self.included = {line[1:] for line in ignore if line[0] == "!"}
        self.excluded = [line.removeprefix("**/") for line in ignore if line.startswith("**/")]

    def build(self) -> Stage:
        arguments: dict[str, str] = {}
        stage: Stage | None = None
        for step in instructions(self.context / "Dockerfile"):
            report(" ".join([step.name, *step.text.split()]))
            if step.name == "FROM":
                stage = self.start_stage(expand(step.text, arguments))
            elif step.name == "ARG":
                name, _, value = step.text.partition("=")
                (stage.args if stage else arguments)[name] = value
            else:
                assert stage, f"{step.name} before FROM"
                self.run_step(stage, step)
        assert stage, "a Dockerfile without FROM"
        return stage

    def start_stage(self, text: str) -> Stage:
        image, _, name = text.partition(" AS ")
        match = re.fullmatch(r"python:[\d.]+-slim-([a-z]+)", image)
        assert match, f"{image}: only python:VERSION-slim-SUITE is supported"
        base = self.work_folder / f"debian-{match[1]}"
        if not base.exists():
            options = ["--variant=minbase", "--include=ca-certificates,python3,python3-venv"]
            subprocess.run(["debootstrap", *options, match[1], base], check=True, stdout=subprocess.DEVNULL)
            (base / "usr/local/bin/python").symlink_to("/usr/bin/python3")
            # Docker provides name resolution, too; the certificates of the host are trusted in addition.
            for file in (Path("/etc/resolv.conf"), Path("/etc/hosts"), CERTIFICATES):
                shutil.copyfile(file, base / file.relative_to("/"))
        root = self.work_folder / f"stage-{len(self.stages)}"
        subprocess.run(["cp", "--archive", base, root], check=True)
        mount("proc", root / "proc")
        mount("tmpfs", root / "dev/shm")
        stage = Stage(root, env={"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"})
        self.stages[name or str(len(self.stages))] = stage
        return stage

    def run_step(self, stage: Stage, step: Instruction) -> None:
        match step.name:
            case "RUN":
                # Build arguments are environment variables of the step; PIP_CERT makes pip trust the host certificates.
                extra = [f"{name}={value}" for name, value in {**stage.args, "PIP_CERT": str(CERTIFICATES)}.items()]
                subprocess.run(stage.wrap(["env", *extra, "/bin/sh", "-c", step.text]), check=True)
            case "COPY":
                self.copy(stage, step)
            case "ENV":
                for word in shlex.split(step.text):
                    name, _, value = word.partition("=")
                    stage.env[name] = stage.expand(value)
            case "WORKDIR":
                stage.workdir = str(PurePosixPath(stage.workdir) / stage.expand(step.text))
                stage.host_path(".").mkdir(parents=True, exist_ok=True)
            case "USER":
                stage.user = stage.expand(step.text)
            case "CMD":
                stage.command = json.loads(step.text)
            case "HEALTHCHECK":
                stage.health = json.loads(step.flags()[1].removeprefix("CMD "))
            case "EXPOSE" | "STOPSIGNAL":
                pass
            case _:
                raise NotImplementedError(step.name)

    def copy(self, stage: Stage, step: Instruction) -> None:
        flags, rest = step.flags()
        *sources, target = (stage.expand(word) for word in rest.split())
        for source in sources:
            if "from" in flags:
                origin = self.stages[flags["from"]].host_path(source)
            else:
                top = PurePosixPath(source).parts[0]
                assert top in self.included, f".dockerignore excludes {source} from the build"
                origin = self.context / source
            destination = stage.host_path(target)
            if origin.is_dir():
                ignore = None if "from" in flags else shutil.ignore_patterns(*self.excluded)
                shutil.copytree(origin, destination, symlinks=True, ignore=ignore, dirs_exist_ok=True)
            else:
                destination = destination / origin.name if target.endswith("/") else destination
                destination.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(origin, destination)


def encoded_image() -> bytes:
    """Encode a gradient of 120 x 90 pixels as a PNG with the standard library alone."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes(value for x in range(120) for value in (2 * x, 2 * y, 128)) for y in range(90))
    header = struct.pack(">IIBBBBB", 120, 90, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def wait_until_ready(address: str, server: subprocess.Popen[bytes], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        assert server.poll() is None, f"the server ended with {server.returncode}"
        try:
            with urllib.request.urlopen(f"{address}/readyz", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
    raise AssertionError(f"not ready after {timeout_s:.0f} s")


def serve(stage: Stage) -> None:
    """Run the image like `docker run --read-only --tmpfs /tmp --cap-drop ALL`, and check the server."""
    assert stage.user.split(":")[0] not in {"0", "root"}, "the server would run as root"
    find = ["find", "/srv", "/opt", "/store", "-writable", "-not", "-type", "l"]
    writable = subprocess.run(stage.wrap(find), check=True, capture_output=True, text=True).stdout
    assert not writable, f"the server's user could write to {writable.split()[:5]}"

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    stage.env["APP_PORT"] = str(port)
    address = f"http://127.0.0.1:{port}"

    # Bind-mount the root over itself so that it can be read-only, and mount the writable folders in it again.
    subprocess.run(["mount", "--bind", stage.root, stage.root], check=True)
    mount("proc", stage.root / "proc")
    mount("tmpfs", stage.root / "dev/shm")
    mount("tmpfs", stage.root / "tmp", "-o", "size=512m,mode=1777")
    subprocess.run(["mount", "-o", "remount,bind,ro", stage.root], check=True)

    started = time.monotonic()
    server = subprocess.Popen(stage.wrap(stage.command))
    try:
        wait_until_ready(address, server, timeout_s=120)
        report(f"ready after {time.monotonic() - started:.1f} s as {stage.user} on a read-only root")
        subprocess.run(stage.wrap(stage.health), check=True)
        report("the health check passes")
        request = urllib.request.Request(f"{address}/v1/classify", encoded_image(), {"Content-Type": "image/png"})
        with urllib.request.urlopen(request, timeout=30) as response:
            answer = json.load(response)
        assert answer["predictions"], answer
        report(f"POST /v1/classify: {response.status} {answer['model']} {answer['predictions'][0]}")
        server.send_signal(signal.SIGTERM)
        assert server.wait(40) == 0, f"ended with {server.returncode} on SIGTERM"
        report("SIGTERM: ended with 0")
    finally:
        server.kill()
    health = subprocess.run(stage.wrap(stage.health), check=False)
    assert health.returncode != 0, "the health check passes without a server"
    report("the health check fails without a server")


def sizes(stage: Stage) -> Iterator[str]:
    for folder in ("opt", "srv", "store"):
        usage = subprocess.run(["du", "-sm", stage.root / folder], check=True, capture_output=True, text=True)
        yield f"/{folder} {usage.stdout.split()[0]} MB"


def main() -> int:
    parser = argparse.ArgumentParser(description="Builds the Dockerfile in chroots, and runs and checks the server.")
    parser.add_argument("--context", type=Path, default=ROOT, help="the folder of the Dockerfile")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        stage = Build(options.context.resolve(), options.inside).build()
        report("built: " + ", ".join(sizes(stage)))
        serve(stage)
        return 0
    if os.geteuid() != 0 or not shutil.which("debootstrap"):
        print("Needs root and debootstrap (apt-get install debootstrap).", file=sys.stderr)
        return 2
    # New namespaces end all mounts and processes with the child, however it ends, so that the folder can be removed.
    with tempfile.TemporaryDirectory(prefix="replay-") as work_folder:
        Path(work_folder).chmod(0o755)
        unshare = ["unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child", "--mount-proc"]
        command = [sys.executable, __file__, "--context", str(options.context), "--inside", work_folder]
        return subprocess.run([*unshare, *command], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
