"""Checks of the container without Docker: its files are valid and consistent, and it runs with few privileges."""

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

from app.hosts import AllowedHosts
from app.settings import Settings
from tests.support.paths import ROOT
from tests.support.replay_dockerfile import Instruction, expand, instructions

DOCKERFILE = ROOT / "Dockerfile"
COMPOSE = ROOT / "docker-compose.yml"
PROJECT = "image-classification-service"
LOCKS = {path.stem: path for path in sorted((ROOT / "requirements").glob("*.lock"))}


def tool(name: str) -> str:
    """Return the path of a command next to this Python or on PATH; skip the test if it is not installed."""
    path = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if not path:
        pytest.skip(f"{name} is not installed (it comes with requirements/dev.lock)")
    return path


def services() -> dict[str, dict[str, Any]]:
    services: dict[str, dict[str, Any]] = YAML(typ="safe").load(COMPOSE)["services"]
    return services


def last_stage() -> list[Instruction]:
    steps = instructions(DOCKERFILE)
    return steps[max(number for number, step in enumerate(steps) if step.name == "FROM") :]


def pins(lock: Path) -> dict[str, set[str]]:
    """Return the versions of each library in a lock; there are several if they depend on the platform or Python."""
    versions: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([a-z0-9-]+)==([^ ;]+)", lock.read_text(), re.MULTILINE):
        versions.setdefault(name, set()).add(version)
    return versions


def test_dockerfile_passes_hadolint() -> None:
    result = subprocess.run([tool("hadolint"), DOCKERFILE], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(("digest", "image"), [("", ""), ("sha256:abc", "@sha256:abc")])
def test_base_image_may_be_pinned_to_a_digest_in_every_stage(digest: str, image: str) -> None:
    steps = [step for step in instructions(DOCKERFILE) if step.name in ("ARG", "FROM")]
    defaults = dict(step.text.split("=") for step in steps[: [step.name for step in steps].index("FROM")])
    assert defaults.pop("DIGEST") == ""
    stages = [expand(step.text, {**defaults, "DIGEST": digest}) for step in steps if step.name == "FROM"]
    assert [stage.partition(" AS ")[0] for stage in stages] == [f"python:{defaults['PYTHON']}{image}"] * 2
    assert all(service["build"]["args"]["DIGEST"] == "${PYTHON_DIGEST:-}" for service in services().values())


@pytest.mark.parametrize("name", ["server", "server-gpu"])
def test_containers_respond_for_this_machine_only_unless_told_otherwise(name: str) -> None:
    value = services()[name]["environment"]["APP_ALLOWED_HOSTS"]
    default = re.fullmatch(r"\$\{APP_ALLOWED_HOSTS:-(.*)\}", value)
    assert default
    allowed = AllowedHosts(Settings(allowed_hosts=default[1]).host_patterns)
    assert [allowed.allows(host) for host in ("localhost:8000", "127.0.0.1:8000", "[::1]:8000")] == [True] * 3
    assert not allowed.allows("evil.example")
    assert all(port.startswith("${PUBLISH") and ":-127.0.0.1:" in port for port in services()[name]["ports"])


def test_compose_file_is_valid() -> None:
    command = [tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_cpu_server_is_the_default_and_gpu_server_is_optional() -> None:
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
    for folder in ("/srv", "/opt/venv"):
        assert not target.is_relative_to(folder)
        assert not PurePosixPath(folder).is_relative_to(target)


@pytest.mark.parametrize("name", ["server", "server-gpu"])
def test_containers_run_with_few_privileges(name: str) -> None:
    service = services()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert not service.get("privileged")
    assert not service.get("cap_add")


@pytest.mark.parametrize("name", ["server", "server-gpu"])
def test_containers_have_time_to_drain(name: str) -> None:
    service = services()[name]
    assert float(service["stop_grace_period"].removesuffix("s")) > float(service["environment"]["APP_DRAIN_S"])


def test_image_runs_as_an_unprivileged_user_and_without_a_shell() -> None:
    steps = {step.name: step.text for step in last_stage()}
    uid, gid = steps["USER"].split(":")
    assert min(int(uid), int(gid)) >= 10_000
    assert steps["CMD"] == '["python", "-m", "app"]'
    assert steps["HEALTHCHECK"].endswith('CMD ["python", "-m", "app.health"]')
    assert steps["STOPSIGNAL"] == "SIGTERM"


def test_image_contains_code_and_store_but_no_tests_or_training() -> None:
    copied = {word for step in instructions(DOCKERFILE) if step.name == "COPY" for word in step.flags()[1].split()[:-1]}
    assert copied == {"requirements/${LOCK}.lock", "LICENSE", "NOTICE", "app", "models", "/opt/venv", "/srv", "/store"}
    included = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert included == {"requirements", "LICENSE", "NOTICE", "app", "models"}


@pytest.mark.parametrize("lock", LOCKS)
def test_locks_contain_hashes_and_no_address(lock: str) -> None:
    text = LOCKS[lock].read_text()
    assert text.startswith("# This file was autogenerated by uv via the following command:\n#    make lock\n")
    assert "://" not in text
    assert "index-url" not in text
    entries = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    assert entries
    assert all("--hash=sha256:" in entry for entry in entries)


def test_uv_is_installed_by_hash() -> None:
    requirements = (ROOT / "requirements" / "uv.txt").read_text()
    assert (
        re.findall(r"^[^#\s].*", requirements, re.MULTILINE)
        == [line for line in requirements.splitlines() if "==" in line][-1:]
    )
    assert requirements.count("--hash=sha256:") > 10  # one for each platform
    installs = [
        line for line in (ROOT / "Makefile").read_text().replace("\\\n", "").splitlines() if "pip install" in line
    ]
    assert installs
    assert all("--require-hashes" in line or "atheris" in line for line in installs)


def test_locks_agree_on_every_version() -> None:
    versions: dict[str, set[str]] = {}
    for lock in LOCKS.values():
        for name, pinned in pins(lock).items():
            versions.setdefault(name, set()).update(pinned)
    assert {name: pinned for name, pinned in versions.items() if len(pinned) > 1} == {}
    assert versions["xgboost"] == versions["xgboost-cpu"]
    assert versions["tensorflow"] == versions["tensorflow-cpu"]


@pytest.mark.parametrize(("smaller", "larger"), [("serve", "cpu"), ("cpu", "dev")])
def test_larger_lock_contains_the_smaller_one(smaller: str, larger: str) -> None:
    # So `make test` after `make serve` in the same .venv keeps the versions that the server uses.
    assert pins(LOCKS[smaller]).items() <= pins(LOCKS[larger]).items()


def test_serving_on_the_cpu_needs_no_tensorflow() -> None:
    assert not {"tensorflow", "tensorflow-cpu", "keras", "nncf"} & pins(LOCKS["serve"]).keys()


@pytest.mark.parametrize("lock", LOCKS)
def test_no_lock_installs_telemetry(lock: str) -> None:
    [entry] = [line for line in LOCKS[lock].read_text().splitlines() if line.startswith("openvino-telemetry")]
    assert "sys_platform == 'never'" in entry


def requirements_of(extras: dict[str, list[str]], *names: str) -> list[Requirement]:
    """Return the requirements of these extras, with nested extras of this project resolved."""
    requirements: list[Requirement] = []
    for requirement in (Requirement(text) for name in names for text in extras[name]):
        is_nested = requirement.name == PROJECT
        requirements += requirements_of(extras, *sorted(requirement.extras)) if is_nested else [requirement]
    return requirements


@pytest.mark.parametrize("lock", LOCKS)
def test_locks_satisfy_pyproject(lock: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    names = [lock, "cpu"] if lock == "dev" else [lock]
    requirements = [*map(Requirement, project["dependencies"]), *requirements_of(extras, *names)]
    locked = pins(LOCKS[lock])
    for requirement in requirements:
        [version] = locked[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement} is locked at {version}: make lock"
