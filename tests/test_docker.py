"""What can be known of the container without Docker: its files are valid, agree with one another and confine it."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from ruamel.yaml import YAML

from tests.support.paths import ROOT
from tests.support.replay_dockerfile import Instruction, instructions

DOCKERFILE = ROOT / "Dockerfile"
COMPOSE = ROOT / "docker-compose.yml"
PROJECT = "image-classification-service"
LOCKS = {path.stem: path for path in sorted((ROOT / "requirements").glob("*.lock"))}


def tool(name: str) -> str:
    """The installed command, beside this Python or on the path."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if not found:
        pytest.skip(f"{name} is not installed (it comes with requirements/dev.lock)")
    return found


def services() -> dict[str, dict[str, Any]]:
    services: dict[str, dict[str, Any]] = YAML(typ="safe").load(COMPOSE)["services"]
    return services


def last_stage() -> list[Instruction]:
    steps = instructions(DOCKERFILE)
    return steps[max(number for number, step in enumerate(steps) if step.name == "FROM") :]


def pins(lock: Path) -> dict[str, set[str]]:
    """Each library of a lock with its versions; more than one means that they differ by platform or Python."""
    versions: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([a-z0-9-]+)==([^ ;]+)", lock.read_text(), re.MULTILINE):
        versions.setdefault(name, set()).add(version)
    return versions


def test_dockerfile_passes_hadolint() -> None:
    result = subprocess.run([tool("hadolint"), DOCKERFILE], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_compose_file_is_valid() -> None:
    command = [tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_cpu_server_is_the_default_and_gpu_server_a_choice() -> None:
    default = [name for name, service in services().items() if not service.get("profiles")]
    assert default == ["server"]
    assert services()["server-gpu"]["profiles"] == ["gpu"]
    for name, lock in {"server": "serve", "server-gpu": "gpu"}.items():
        assert services()[name]["build"]["args"]["LOCK"] == lock
        assert lock in LOCKS


def test_servers_publish_different_ports() -> None:
    published = [port for service in services().values() for port in service["ports"]]
    assert len({re.findall(r":(\d+)\}", port)[0] for port in published}) == len(services())


@pytest.mark.parametrize("name", ["server", "server-gpu"])
def test_store_is_mounted_read_only_and_never_over_the_code(name: str) -> None:
    [volume] = services()[name]["volumes"]
    assert (volume["source"], volume["read_only"]) == ("./models/store", True)
    target = PurePosixPath(volume["target"])
    assert str(target) == services()[name]["environment"]["APP_STORE"]
    for place in ("/srv", "/opt/venv"):
        assert not target.is_relative_to(place)
        assert not PurePosixPath(place).is_relative_to(target)


@pytest.mark.parametrize("name", ["server", "server-gpu"])
def test_containers_are_confined(name: str) -> None:
    service = services()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert not service.get("privileged")
    assert not service.get("cap_add")


@pytest.mark.parametrize("name", ["server", "server-gpu"])
def test_containers_may_finish_what_they_accepted(name: str) -> None:
    service = services()[name]
    assert float(service["stop_grace_period"].removesuffix("s")) > float(service["environment"]["APP_DRAIN_S"])


def test_image_runs_without_rights_and_without_a_shell() -> None:
    steps = {step.name: step.text for step in last_stage()}
    uid, gid = steps["USER"].split(":")
    assert min(int(uid), int(gid)) >= 10_000
    assert steps["CMD"] == '["python", "-m", "app"]'
    assert steps["HEALTHCHECK"].endswith('CMD ["python", "-m", "app.health"]')
    assert steps["STOPSIGNAL"] == "SIGTERM"


def test_image_holds_code_and_store_and_no_tests_or_training() -> None:
    copied = {word for step in instructions(DOCKERFILE) if step.name == "COPY" for word in step.flags()[1].split()[:-1]}
    assert copied == {"requirements/${LOCK}.lock", "LICENSE", "app", "models", "/opt/venv", "/srv", "/store"}
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert let_in == {"requirements", "LICENSE", "app", "models"}


@pytest.mark.parametrize("lock", LOCKS)
def test_locks_carry_hashes_and_no_address(lock: str) -> None:
    text = LOCKS[lock].read_text()
    assert text.startswith("# This file was autogenerated by uv via the following command:\n#    make lock\n")
    assert "://" not in text
    assert "index-url" not in text
    entries = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    assert entries
    assert all("--hash=sha256:" in entry for entry in entries)


def test_locks_agree_on_every_version() -> None:
    versions: dict[str, set[str]] = {}
    for lock in LOCKS.values():
        for name, pinned in pins(lock).items():
            versions.setdefault(name, set()).update(pinned)
    assert {name: pinned for name, pinned in versions.items() if len(pinned) > 1} == {}
    assert versions["xgboost"] == versions["xgboost-cpu"]
    assert versions["tensorflow"] == versions["tensorflow-cpu"]


@pytest.mark.parametrize(("smaller", "larger"), [("serve", "cpu"), ("cpu", "dev")])
def test_each_lock_contains_the_one_before(smaller: str, larger: str) -> None:
    # `make test` after `make serve` in one .venv changes nothing that the server runs on.
    assert pins(LOCKS[smaller]).items() <= pins(LOCKS[larger]).items()


def test_serving_on_the_cpu_needs_no_tensorflow() -> None:
    assert not {"tensorflow", "tensorflow-cpu", "keras", "nncf"} & pins(LOCKS["serve"]).keys()


@pytest.mark.parametrize("lock", LOCKS)
def test_no_lock_installs_what_reports_to_others(lock: str) -> None:
    [entry] = [line for line in LOCKS[lock].read_text().splitlines() if line.startswith("openvino-telemetry")]
    assert "sys_platform == 'never'" in entry


def required(extras: dict[str, list[str]], *names: str) -> list[Requirement]:
    """What extras ask for, those of this project that they name included."""
    asked = [Requirement(text) for name in names for text in extras[name]]
    own = [requirement for requirement in asked if requirement.name == PROJECT]
    others = [requirement for requirement in asked if requirement.name != PROJECT]
    return [*others, *(each for requirement in own for each in required(extras, *sorted(requirement.extras)))]


@pytest.mark.parametrize("lock", LOCKS)
def test_locks_satisfy_pyproject(lock: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*map(Requirement, project["dependencies"]), *required(extras, lock, *(["cpu"] if lock == "dev" else []))]
    locked = pins(LOCKS[lock])
    for requirement in wanted:
        [version] = locked[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement} is locked at {version}: make lock"
