"""The files of `deploy/` that run Oyez: they agree with the settings that exist, and give away no rights.

Whether the image can be built and the manifests be applied needs programs that most machines do not have.
"""

import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from oyez.settings import Settings, load_settings
from oyez.systems.listing import list_systems

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DEFAULTS = Settings()
NAMES = {name.upper() for name in Settings.__struct_fields__}
DOCKERFILE = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
PODS = yaml.safe_load((DEPLOY / "kubernetes/deployment.yaml").read_text())["spec"]
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def seconds_to_stop(settings: Settings) -> float:
    """How long a server with these settings takes to stop, at most."""
    return settings.drain_time + 2 * settings.shutdown_timeout


def find_unit(name: str) -> list[str]:
    """The values of a line of the systemd unit."""
    return re.findall(rf"^{name}=(.*)$", (DEPLOY / "oyez.service").read_text(), re.MULTILINE)


def pins(file: str) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / file).read_text(), re.MULTILINE))


def check_command(arguments: list[str]) -> None:
    """That `oyez` takes these arguments."""
    name, *rest = arguments
    assert name == "serve"
    options = [word for word in rest if word.startswith("--")]
    assert {option[2:].replace("-", "_") for option in options} <= {"config", *Settings.__struct_fields__}
    assert rest[0] in list_systems()


# The image.


def test_the_image_has_the_pinned_packages_and_no_tools() -> None:
    image, tools = pins("deploy/requirements.txt"), pins("requirements.txt")
    (removed,) = re.findall(r"pip uninstall --yes (.*)", DOCKERFILE)
    assert set(removed.split()) == {*tools, "pip"} - {*image}
    # The extras are among what the tests install.
    assert image.items() <= (pins("requirements-dev.txt") | tools).items()
    assert {"psycopg", "opentelemetry-sdk"} <= image.keys()


def test_only_what_is_copied_can_get_into_the_image() -> None:
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().split("\n*\n", 1)[1].split()
    copied = {word for line in re.findall(r"^COPY (?!--)(.*) \S+$", DOCKERFILE, re.MULTILINE) for word in line.split()}
    assert {line[1:] for line in ignored if line.startswith("!")} == copied
    assert all((ROOT / word).exists() for word in copied)


def test_the_image_is_run_by_a_user_without_rights() -> None:
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    (user,) = re.findall(r"^USER (\d+):\d+$", last, re.MULTILINE)
    assert int(user) > 0 and f"--uid {user} " in last
    assert last.index("\nUSER ") < last.index("\nENTRYPOINT ")
    # The first process passes signals on, and reaps what a system's code leaves behind.
    assert 'ENTRYPOINT ["tini", "--", "oyez"]' in last
    assert set(re.findall(r"\b([A-Z_]+)=", re.findall(r"^ENV (.*)$", last, re.MULTILINE)[0])) <= {
        "PATH",
        "PYTHONDONTWRITEBYTECODE",
        *NAMES,
    }
    assert f"EXPOSE {DEFAULTS.port}" in last and f":{DEFAULTS.port}/healthz" in last


# Compose.


def test_compose_starts_a_server_that_can_write_only_its_data() -> None:
    oyez = COMPOSE["services"]["oyez"]
    check_command(oyez["command"])
    assert {name for name in oyez["environment"] if not name.startswith("OTEL_")} <= NAMES
    assert oyez["read_only"] is True and oyez["cap_drop"] == ["ALL"]
    assert oyez["security_opt"] == ["no-new-privileges:true"]
    assert int(oyez["stop_grace_period"].removesuffix("s")) > seconds_to_stop(DEFAULTS)
    assert oyez["ulimits"]["nofile"] > DEFAULTS.limits.max_connections
    assert oyez["ports"] == [f"127.0.0.1:{DEFAULTS.port}:{DEFAULTS.port}"]
    build = oyez["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).samefile(DEPLOY / "Dockerfile")


def test_compose_keeps_the_log_and_the_database_to_oyez() -> None:
    services = COMPOSE["services"]
    for name in ("valkey", "postgres"):
        assert services[name]["networks"] == ["back"] and "ports" not in services[name]
        assert services["oyez"]["depends_on"][name] == {"condition": "service_healthy"}
    assert COMPOSE["networks"]["back"] == {"internal": True}
    # As docs/operating.md asks.
    command = " ".join(services["valkey"]["command"])
    for option in ("appendonly yes", "appendfsync always", "maxmemory-policy noeviction"):
        assert f"--{option}" in command


def test_compose_has_no_secret() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    assert "JWT_SECRET: ${JWT_SECRET:?" in text and "oyez:${POSTGRES_PASSWORD:?" in text


# systemd.


def test_the_unit_leaves_time_to_stop_and_files_for_clients() -> None:
    (command,) = find_unit("ExecStart")
    check_command(shlex.split(command)[1:])
    assert find_unit("ExecReload") == ["/bin/kill -HUP $MAINPID"] and find_unit("KillMode") == ["mixed"]
    assert int(find_unit("TimeoutStopSec")[0]) > seconds_to_stop(DEFAULTS)
    assert int(find_unit("LimitNOFILE")[0]) > DEFAULTS.limits.max_connections
    page = (ROOT / "docs/operating.md").read_text()
    assert all(f"{name}={find_unit(name)[0]}" in page for name in ("TimeoutStopSec", "LimitNOFILE"))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is part of systemd")
def test_systemd_accepts_the_unit_and_finds_it_closed(tmp_path: Path) -> None:
    (tmp_path / "oyez").touch(mode=0o755)
    unit = tmp_path / "oyez.service"
    unit.write_text((DEPLOY / "oyez.service").read_text().replace("/opt/oyez/bin", str(tmp_path)))
    for arguments in (["verify"], ["security", "--offline=true", "--threshold=20"]):
        checked = subprocess.run(
            ["systemd-analyze", "--no-pager", *arguments, str(unit)], capture_output=True, text=True, check=False
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr
        assert not [line for line in checked.stderr.splitlines() if "oyez" in line]


# Kubernetes.


def load_pod_settings() -> Settings:
    return load_settings({}, DEPLOY / "kubernetes/oyez.toml")


def test_the_settings_of_pods_are_settings() -> None:
    written = tomllib.loads((DEPLOY / "kubernetes/oyez.toml").read_text())
    # That each differs from the default.
    defaults = msgspec.to_builtins(DEFAULTS)
    assert all(value != defaults[name] for name, value in written.items() if name != "limits")
    (container,) = PODS["template"]["spec"]["containers"]
    check_command(container["args"])
    own = {variable["name"] for variable in container["env"]} - {"POD_IP"}
    assert {name.removeprefix("OYEZ_") for name in own} <= NAMES
    (folder,) = [mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "settings"]
    assert container["args"][-1] == f"{folder}/oyez.toml"


def test_a_rolling_update_drains_each_pod() -> None:
    pod, settings = PODS["template"]["spec"], load_pod_settings()
    (container,) = pod["containers"]
    pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    probe = container["readinessProbe"]
    assert pod["terminationGracePeriodSeconds"] > pause + seconds_to_stop(settings)
    # A pod that is not ready gets no new clients before it stops to listen.
    assert pause > probe["periodSeconds"] * probe["failureThreshold"]
    assert PODS["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert PODS["replicas"] > 1


def test_probes_ask_what_they_are_for() -> None:
    (container,) = PODS["template"]["spec"]["containers"]
    probes = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")}
    # A restart would disconnect all clients, and would not bring the database back.
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startup": "/healthz",
        "readiness": "/readyz",
        "liveness": "/healthz",
    }
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports["http"] == DEFAULTS.port and {probe["port"] for probe in probes.values()} == {"http"}
    (address,) = [each["value"] for each in container["env"] if each["name"] == "OYEZ_NODE_ADDRESS"]
    assert address == f"$(POD_IP):{ports['nodes']}"


def test_pods_have_no_rights() -> None:
    pod = PODS["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert f"USER {pod['securityContext']['runAsUser']}:{pod['securityContext']['fsGroup']}" in DOCKERFILE
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["automountServiceAccountToken"] is False
    # OYEZ_PORT=tcp://… of the service `oyez` would be read as the setting `port`.
    assert pod["enableServiceLinks"] is False


def test_every_manifest_is_applied_and_means_the_same_pods() -> None:
    folder = DEPLOY / "kubernetes"
    listed = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
    assert {*listed, "kustomization.yaml", "oyez.toml"} == {path.name for path in folder.iterdir()}
    labels = PODS["template"]["metadata"]["labels"]
    service, budget, policy = (
        yaml.safe_load((folder / f"{name}.yaml").read_text())["spec"]
        for name in ("service", "disruption-budget", "network-policy")
    )
    assert PODS["selector"]["matchLabels"] == service["selector"] == budget["selector"]["matchLabels"] == labels
    assert policy["podSelector"]["matchLabels"] == labels
    assert "sessionAffinity" not in service


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="there is no kubectl")
def test_kubectl_puts_the_manifests_together() -> None:
    built = subprocess.run(
        ["kubectl", "kustomize", str(DEPLOY / "kubernetes")], capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    kinds: list[Any] = [document["kind"] for document in yaml.safe_load_all(built.stdout)]
    assert sorted(kinds) == ["ConfigMap", "Deployment", "NetworkPolicy", "PodDisruptionBudget", "Service"]


# nginx.


def test_nginx_has_the_file_of_the_page() -> None:
    (block,) = re.findall(r"```nginx\n(.*?)```", (ROOT / "docs/operating.md").read_text(), re.DOTALL)
    assert (DEPLOY / "nginx.conf").read_text() == block
