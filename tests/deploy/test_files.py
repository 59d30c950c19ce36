"""Compose files, images, units and manifests against their schemas and linters, and against the program they start."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from velesio import config
from velesio.errors import ConfigError

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = [*sorted(DEPLOY.glob("compose*.yaml")), ROOT / "monitoring/compose.yaml"]
UNITS = sorted(DEPLOY.glob("systemd/*.service"))
IGNORED = ("DL3008", "DL3013")
"""Versions of Debian's packages, which its servers do not keep; versions of Velesio's, which pyproject.toml bounds."""


def run(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("path", COMPOSE, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_a_compose_file_fits_its_schema(path: Path) -> None:
    run(sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path))


@pytest.mark.parametrize("path", COMPOSE, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_services_are_pinned_and_shut_in(path: Path) -> None:
    """No image without a version; no port open to the world unless a variable says so; no password with a default."""
    text = path.read_text(encoding="utf-8")
    for name, service in yaml.safe_load(text)["services"].items():
        image = service.get("image", "x:pinned")
        assert re.search(r":(?!latest)[\w.-]+$", image), (name, image)
        if image.startswith("velesio") and path.name != "compose.cuda.yaml" and "extends" not in service:
            assert service["read_only"] is True, name
            assert service["cap_drop"] == ["ALL"], name
        for port in service.get("ports", []):
            assert port.startswith(("127.0.0.1:", "${")), (name, port)
            assert not port.startswith("${") or ":-127.0.0.1}" in port, (name, port)
    for variable in re.findall(r"\$\{(\w*(?:PASS|TOKEN|SECRET)\w*)(:?[-][^}]+)\}", text):
        pytest.fail(f"{variable} has a default")


def manifests() -> list[dict[str, Any]]:
    """Of Kubernetes' own kinds."""
    return [
        manifest
        for path in sorted(DEPLOY.glob("kubernetes/*.yaml"))
        for manifest in yaml.safe_load_all(path.read_text(encoding="utf-8"))
    ]


def environments() -> list[tuple[str, dict[str, str]]]:
    """What the compose files and the manifests tell Velesio."""
    found: list[tuple[str, dict[str, str]]] = []
    for path in COMPOSE:
        for name, service in yaml.safe_load(path.read_text(encoding="utf-8"))["services"].items():
            if str(service.get("image", "")).startswith("velesio") and "environment" in service:
                found.append((f"{path.name} {name}", service["environment"]))
    for manifest in manifests():
        if manifest["kind"] == "ConfigMap":
            found.append(("kubernetes", manifest["data"]))
    return found


@pytest.mark.parametrize(
    ("place", "environment"), environments(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_velesio_knows_every_variable(place: str, environment: dict[str, str]) -> None:
    """A misspelled option would end the container at its start."""
    filled = {name: re.sub(r"\$\{[^}]*\}", "filled", value) for name, value in environment.items()}
    assert config.load(Path(os.devnull), filled).redis.url


def test_only_what_fetches_models_may_write_to_them() -> None:
    """And it ends before any server starts."""
    for path in COMPOSE:
        services = yaml.safe_load(path.read_text(encoding="utf-8"))["services"]
        for name, service in services.items():
            mounts = [volume for volume in service.get("volumes", []) if ":/models" in volume]
            assert all(mount.endswith("/models:ro") for mount in mounts) or name == "models", (path.name, name)
            if mounts and name != "models":
                assert service["depends_on"]["models"] == {"condition": "service_completed_successfully"}
                assert services["models"]["image"] == service["image"]


def test_the_example_environment_has_the_earlier_names() -> None:
    """All that the earlier Velesio server had."""
    names = set(re.findall(r"^#? ?(\w+)=", (DEPLOY / ".env.example").read_text(encoding="utf-8"), re.MULTILINE))
    assert names >= {
        *("API_TOKENS", "REDIS_URL", "REDIS_HOST", "REDIS_PASS", "REMOTE"),
        *("MODEL_URL", "SD_MODEL_URL", "LORA_URL", "VAE_URL", "GPU_LAYERS"),
    }


def test_the_dockerfile_by_its_linter() -> None:
    found = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert found
    run(found, *(f"--ignore={rule}" for rule in IGNORED), "deploy/Dockerfile")


def test_the_dockerfile_copies_what_is_there() -> None:
    """Each COPY names files of the repository that the builder is sent, each stage is made before it is used, and
    nobody runs as root."""
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    sent = set(re.findall(r"^!(.+)$", (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8"), re.MULTILINE))
    for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE):
        *sources, _ = line.split()
        assert all((ROOT / source).exists() for source in sources), line
        assert set(sources) <= sent, line
    stages = text.split("\nFROM ")[1:]
    names: list[str] = []
    for stage in stages:
        origin, _, name = stage.splitlines()[0].split()
        assert origin in names or ":" in origin
        assert all(used in names for used in re.findall(r"--from=([\w-]+)", stage))
        names.append(name)
        if name in {"base", "worker-cuda"}:
            variables = dict(re.findall(r"\b(VELESIO_\w+)=(\S+)", stage))
            assert config.load(Path(os.devnull), variables).server.data_dir == Path("/data")
        if name in {"gateway", "worker-cpu", "worker-cuda"}:
            assert "\nUSER 10000\n" in stage
            assert "\nHEALTHCHECK " in stage
    assert {"gateway", "worker-cpu", "worker-cuda"} <= set(names)


def complaints(text: str, unit: Path) -> str:
    """What systemd says of a unit, with a program that exists here, and as a user of this machine."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is missing on this machine")
    text = text.replace("/opt/velesio/bin/python", "/bin/true")
    unit.write_text(re.sub(r"^(User|Group)=.*$", r"\1=daemon", text, flags=re.MULTILINE))
    command = ["systemd-analyze", "verify", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return "".join(line for line in done.stderr.splitlines(keepends=True) if unit.name in line)


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_a_unit_verifies(path: Path, tmp_path: Path) -> None:
    """Every line of it means something to systemd."""
    assert complaints(path.read_text(encoding="utf-8"), tmp_path / path.name) == ""


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_a_unit_gives_time_to_drain(path: Path) -> None:
    """It waits longer than the drain takes, tells the process alone, and starts the role of its name."""
    text = path.read_text(encoding="utf-8")
    section = config.ServerSection()
    stop = re.search(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
    assert stop is not None
    assert int(stop[1]) > 2 * section.drain_timeout
    assert "\nType=notify\n" in text
    assert "\nKillMode=mixed\n" in text
    role = path.stem.removeprefix("velesio").removeprefix("-") or "all"
    assert f"--role {role} " in text


@pytest.mark.parametrize(
    "manifest", manifests(), ids=lambda manifest: f"{manifest['kind']}-{manifest['metadata']['name']}"
)
def test_a_manifest_fits_its_schema(manifest: dict[str, Any]) -> None:
    """Strictly: an unknown key is an error."""
    kubernetes_validate.validate(manifest, "1.34", strict=True)


def test_pods_do_not_hear_of_services_by_variables() -> None:
    """Kubernetes would tell of the service `velesio` by VELESIO_PORT, which is no option."""
    with pytest.raises(ConfigError):
        config.load(Path(os.devnull), {"VELESIO_PORT": "tcp://10.0.0.1:80"})
    pods = [manifest["spec"]["template"]["spec"] for manifest in manifests() if manifest["kind"] == "Deployment"]
    assert len(pods) == 2
    assert all(pod["enableServiceLinks"] is False for pod in pods)


def test_mistakes_are_seen(tmp_path: Path) -> None:
    """One letter too few in a unit, in a compose file, in a manifest: none of the checks above is blind."""
    unit = UNITS[0].read_text(encoding="utf-8").replace("WatchdogSec", "WatchdogSe")
    assert "WatchdogSe" in complaints(unit, tmp_path / "wrong.service")
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(COMPOSE[0].read_text(encoding="utf-8").replace("read_only", "read_onl"))
    with pytest.raises(AssertionError, match="read_onl"):
        run(sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(wrong))
    [manifest, *_] = [manifest for manifest in manifests() if manifest["kind"] == "Deployment"]
    manifest["spec"]["template"]["spec"]["enableServiceLink"] = False
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, "1.34", strict=True)


def test_the_scaling_follows_a_rule_that_exists() -> None:
    """KEDA's own schema is not at hand; its query and its target are ours."""
    [scaling] = yaml.safe_load_all((DEPLOY / "kubernetes/keda/scaling.yaml").read_text(encoding="utf-8"))
    rules = (ROOT / "monitoring/prometheus/rules/velesio.rules.yml").read_text(encoding="utf-8")
    [trigger] = scaling["spec"]["triggers"]
    [record] = re.findall(r"velesio:\w+", trigger["metadata"]["query"])
    assert f"record: {record}\n" in rules
    deployments = {manifest["metadata"]["name"] for manifest in manifests() if manifest["kind"] == "Deployment"}
    assert scaling["spec"]["scaleTargetRef"]["name"] in deployments
