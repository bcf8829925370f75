"""Replays the Dockerfile where there is no Docker: `python tests/support/replay_dockerfile.py`, as root on Debian.

The steps are read from the Dockerfile and carried out in chroots that stand for its stages; a stage that begins
`FROM python:3.12-slim-trixie` begins here with a minimal Debian trixie and that release's own Python. Then the command
of the last stage runs as its container would, under its user without any capability, on a read-only root with an empty
/tmp, until it has answered /readyz and an image and has ended on SIGTERM. Needs debootstrap and a network.
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
    """One step: `COPY --from=builder /srv /srv` is name COPY and text `--from=builder /srv /srv`."""

    name: str
    text: str

    def flags(self) -> tuple[dict[str, str], str]:
        """Take the leading --name=value words apart from the rest."""
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


@dataclass
class Stage:
    """A root file system under way, and what Docker would note beside it."""

    root: Path
    env: dict[str, str]
    args: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"
    user: str = "0:0"
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)

    def expand(self, text: str) -> str:
        return string.Template(text).safe_substitute(self.args | self.env)

    def at(self, place: str) -> Path:
        """Find a place of the stage on this machine."""
        return self.root / (PurePosixPath(self.workdir) / place).relative_to("/")

    def run(self, command: list[str]) -> list[str]:
        """Wrap a command so that it runs inside, as the stage's user."""
        uid, gid = self.user.split(":")
        drop = ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--no-new-privs"]
        if uid != "0":
            drop += ["--bounding-set=-all", "--inh-caps=-all"]
        variables = [f"{name}={value}" for name, value in self.env.items()]
        environment = ["env", "--ignore-environment", f"--chdir={self.workdir}", *variables]
        return ["chroot", str(self.root), *drop, *environment, *command]


def say(text: str) -> None:
    print(f"\033[1m{text}\033[0m" if sys.stdout.isatty() else text, flush=True)


def mount(kind: str, target: Path, *options: str) -> None:
    target.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", kind, *options, kind, target], check=True)


class Build:
    """Carries out the steps of a Dockerfile, one folder to a stage."""

    def __init__(self, context: Path, workshop: Path) -> None:
        self.context = context
        self.workshop = workshop
        self.stages: dict[str, Stage] = {}
        ignore = [line for line in (context / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
        self.let_in = {line[1:] for line in ignore if line[0] == "!"}
        self.left_out = [line.removeprefix("**/") for line in ignore if line.startswith("**/")]

    def build(self) -> Stage:
        arguments: dict[str, str] = {}
        stage: Stage | None = None
        for step in instructions(self.context / "Dockerfile"):
            say(" ".join([step.name, *step.text.split()]))
            if step.name == "FROM":
                stage = self.begin(string.Template(step.text).substitute(arguments))
            elif step.name == "ARG":
                name, _, value = step.text.partition("=")
                (stage.args if stage else arguments)[name] = value
            else:
                assert stage, f"{step.name} before FROM"
                self.step(stage, step)
        assert stage, "a Dockerfile without FROM"
        return stage

    def begin(self, text: str) -> Stage:
        image, _, name = text.partition(" AS ")
        match = re.fullmatch(r"python:[\d.]+-slim-([a-z]+)", image)
        assert match, f"{image}: only python:VERSION-slim-SUITE can be stood in for"
        base = self.workshop / f"debian-{match[1]}"
        if not base.exists():
            options = ["--variant=minbase", "--include=ca-certificates,python3,python3-venv"]
            subprocess.run(["debootstrap", *options, match[1], base], check=True, stdout=subprocess.DEVNULL)
            (base / "usr/local/bin/python").symlink_to("/usr/bin/python3")
            # What Docker, or whoever runs it, arranges: names are resolved, and the host's certificates are trusted.
            for file in (Path("/etc/resolv.conf"), Path("/etc/hosts"), CERTIFICATES):
                shutil.copyfile(file, base / file.relative_to("/"))
        root = self.workshop / f"stage-{len(self.stages)}"
        subprocess.run(["cp", "--archive", base, root], check=True)
        mount("proc", root / "proc")
        mount("tmpfs", root / "dev/shm")
        stage = Stage(root, env={"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"})
        self.stages[name or str(len(self.stages))] = stage
        return stage

    def step(self, stage: Stage, step: Instruction) -> None:
        match step.name:
            case "RUN":
                # Arguments are variables of the step; pip brings its own certificates unless it is told of the host's.
                extra = [f"{name}={value}" for name, value in {**stage.args, "PIP_CERT": str(CERTIFICATES)}.items()]
                subprocess.run(stage.run(["env", *extra, "/bin/sh", "-c", step.text]), check=True)
            case "COPY":
                self.copy(stage, step)
            case "ENV":
                for word in shlex.split(step.text):
                    name, _, value = word.partition("=")
                    stage.env[name] = stage.expand(value)
            case "WORKDIR":
                stage.workdir = str(PurePosixPath(stage.workdir) / stage.expand(step.text))
                stage.at(".").mkdir(parents=True, exist_ok=True)
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
                origin = self.stages[flags["from"]].at(source)
            else:
                top = PurePosixPath(source).parts[0]
                assert top in self.let_in, f".dockerignore keeps {source} from the build"
                origin = self.context / source
            place = stage.at(target)
            if origin.is_dir():
                ignore = None if "from" in flags else shutil.ignore_patterns(*self.left_out)
                shutil.copytree(origin, place, symlinks=True, ignore=ignore, dirs_exist_ok=True)
            else:
                place = place / origin.name if target.endswith("/") else place
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(origin, place)


def encoded_image() -> bytes:
    """Paint a PNG of 120 x 90 pixels, a gradient, with nothing but the standard library."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes(value for x in range(120) for value in (2 * x, 2 * y, 128)) for y in range(90))
    header = struct.pack(">IIBBBBB", 120, 90, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def ready(address: str, server: subprocess.Popen[bytes], seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert server.poll() is None, f"the server ended with {server.returncode}"
        try:
            with urllib.request.urlopen(f"{address}/readyz", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
    raise AssertionError(f"not ready after {seconds:.0f} s")


def serve(stage: Stage) -> None:
    """Run the image as `docker run --read-only --tmpfs /tmp --cap-drop ALL` would, and use it."""
    assert stage.user.split(":")[0] not in {"0", "root"}, "the server would run as root"
    find = ["find", "/srv", "/opt", "/store", "-writable", "-not", "-type", "l"]
    writable = subprocess.run(stage.run(find), check=True, capture_output=True, text=True).stdout
    assert not writable, f"the server's user could write to {writable.split()[:5]}"

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    stage.env["APP_PORT"] = str(port)
    address = f"http://127.0.0.1:{port}"

    # A mount of the root over itself, which can be made read-only, and in it anew what stays writable.
    subprocess.run(["mount", "--bind", stage.root, stage.root], check=True)
    mount("proc", stage.root / "proc")
    mount("tmpfs", stage.root / "dev/shm")
    mount("tmpfs", stage.root / "tmp", "-o", "size=512m,mode=1777")
    subprocess.run(["mount", "-o", "remount,bind,ro", stage.root], check=True)

    begin = time.monotonic()
    server = subprocess.Popen(stage.run(stage.command))
    try:
        ready(address, server, seconds=120)
        say(f"ready after {time.monotonic() - begin:.1f} s as {stage.user} on a read-only root")
        subprocess.run(stage.run(stage.health), check=True)
        say("the health check passes")
        request = urllib.request.Request(f"{address}/v1/classify", encoded_image(), {"Content-Type": "image/png"})
        with urllib.request.urlopen(request, timeout=30) as response:
            answer = json.load(response)
        assert answer["predictions"], answer
        say(f"POST /v1/classify: {response.status} {answer['model']} {answer['predictions'][0]}")
        server.send_signal(signal.SIGTERM)
        assert server.wait(40) == 0, f"ended with {server.returncode} on SIGTERM"
        say("SIGTERM: ended with 0")
    finally:
        server.kill()
    health = subprocess.run(stage.run(stage.health), check=False)
    assert health.returncode != 0, "the health check passes without a server"
    say("the health check fails without a server")


def sizes(stage: Stage) -> Iterator[str]:
    for place in ("opt", "srv", "store"):
        usage = subprocess.run(["du", "-sm", stage.root / place], check=True, capture_output=True, text=True)
        yield f"/{place} {usage.stdout.split()[0]} MB"


def main() -> int:
    parser = argparse.ArgumentParser(description="Replays the Dockerfile in a chroot, up to a running server.")
    parser.add_argument("--context", type=Path, default=ROOT, help="the folder of the Dockerfile")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        stage = Build(options.context.resolve(), options.inside).build()
        say("built: " + ", ".join(sizes(stage)))
        serve(stage)
        return 0
    if os.geteuid() != 0 or not shutil.which("debootstrap"):
        print("Needs root and debootstrap (apt-get install debootstrap).", file=sys.stderr)
        return 2
    # Mounts and processes live in namespaces of their own: both are gone when the child ends, however it ends, and the
    # folder holds nothing but files when it is removed.
    with tempfile.TemporaryDirectory(prefix="replay-") as workshop:
        Path(workshop).chmod(0o755)
        alone = ["unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child", "--mount-proc"]
        again = [sys.executable, __file__, "--context", str(options.context), "--inside", workshop]
        return subprocess.run([*alone, *again], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
