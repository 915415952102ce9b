"""Test that the files in deploy/ are valid, and that all of them start what the Procfile starts."""

from __future__ import annotations

import json
import re
from importlib import metadata
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml

from actors.__main__ import SHUTDOWN_MS
from dev.checks.locks import locked
from dev.embedded.sandbox import ROOT
from server.__main__ import GRACE_S, LINGER_S
from storage.settings import SECRETS, Settings
from storage.telemetry.process_signals import PORT_AFTER
from tests.conftest import PORTAL_TOKEN, WEBHOOK_SECRET
from tests.system.deploy_files import (
    DEPLOY,
    DOCKERFILE,
    KUBERNETES,
    SYSTEMD,
    Commands,
    build_commands,
    compose,
    compose_commands,
    copied_folders,
    env_file,
    kubernetes_commands,
    manifests,
    pods,
    procfile_commands,
    systemd_commands,
    unit,
)

# Of Kubernetes.
API_VERSION = "1.37"
PASSWORDS = {"DATABASE_URL", "REDIS_URL"}
STOP_S = 45
LOCK = DEPLOY / "locked" / "requirements.txt"


@pytest.mark.parametrize(
    "commands", [compose_commands(), kubernetes_commands(), systemd_commands()]
)
def test_each_way_to_deploy_starts_what_the_procfile_starts(commands: Commands) -> None:
    assert commands == procfile_commands()


def test_the_compose_file_is_valid() -> None:
    """Use the schema of github.com/compose-spec/compose-spec (Apache 2.0, June 2026)."""
    schema = json.loads(Path(__file__).with_name("compose-spec.json").read_text())

    jsonschema.Draft7Validator(schema).validate(compose())


@pytest.mark.parametrize(
    "manifest", manifests(), ids=lambda each: f"{each['kind']}-{each['metadata']['name']}"
)
def test_the_manifests_are_valid(manifest: dict[str, object]) -> None:
    kubernetes_validate.validate(manifest, API_VERSION, strict=True)


def test_what_the_manifests_refer_to_exists() -> None:
    kustomization = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())
    generators = kustomization["configMapGenerator"] + kustomization["secretGenerator"]
    generated = {each["name"] for each in generators}
    text = "".join((KUBERNETES / name).read_text() for name in kustomization["resources"])
    referred = re.findall(r"(?:configMapRef: \{name|secretRef: \{name|secretName): ([\w-]+)", text)
    [target] = [
        each["spec"]["scaleTargetRef"]
        for each in manifests()
        if each["kind"] == "HorizontalPodAutoscaler"
    ]

    assert set(referred) == generated
    assert (target["kind"], target["name"]) in {
        (each["kind"], each["metadata"]["name"]) for each in manifests()
    }


def test_no_container_is_root_or_writes_beside_its_data() -> None:
    for pod in pods().values():
        assert pod["securityContext"]["runAsNonRoot"]
        for container in pod["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"]
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            for mount in container.get("volumeMounts", []):
                assert mount.get("readOnly") or mount["mountPath"] == "/var/lib/autos"
    for name in compose_commands():
        assert compose()["services"][name]["read_only"]
    assert re.search(r"^USER 10001:10001$", DOCKERFILE.read_text(), re.M)


def test_the_worker_and_the_uploader_share_a_spool_that_survives() -> None:
    pod = pods()["autos-worker"]
    assert [each["name"] for each in pod["containers"]] == ["worker", "uploader"]
    assert all({"name": "data", "mountPath": "/var/lib/autos"} in each["volumeMounts"]
               for each in pod["containers"])  # fmt: skip
    services = compose()["services"]
    assert services["worker"]["volumes"] == services["uploader"]["volumes"]


def test_every_supervisor_waits_long_enough_for_the_stop() -> None:
    needed_s = max(SHUTDOWN_MS / 1000, GRACE_S + LINGER_S)
    for name in ("autos@.service", "autos-server.service"):
        assert unit(SYSTEMD / name)["TimeoutStopSec"] == str(STOP_S)
        # Dramatiq's parent passes SIGTERM on; a second one would kill its processes.
        assert unit(SYSTEMD / name)["KillMode"] == "mixed"
        assert unit(SYSTEMD / name)["Restart"] == "always"
    for name in compose_commands():
        assert compose()["services"][name]["stop_grace_period"] == f"{STOP_S}s"
    for name in ("autos-worker", "autos-notifier"):
        assert pods()[name]["terminationGracePeriodSeconds"] == STOP_S
    assert needed_s < STOP_S


def test_every_probe_and_scrape_has_the_port_of_its_process() -> None:
    port = {name: 9100 + offset for name, offset in PORT_AFTER.items()}
    for pod in pods().values():
        for each in pod["containers"]:
            if each["name"] in port:
                numbers = {named["name"]: named["containerPort"] for named in each["ports"]}
                assert port[each["name"]] in numbers.values()
                probe = each["readinessProbe"]
                if "httpGet" in probe:
                    assert numbers[probe["httpGet"]["port"]] == port[each["name"]]
    scraped = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    assert {
        job["job_name"]: job["dns_sd_configs"][0]["port"] for job in scraped["scrape_configs"]
    } == port


@pytest.mark.parametrize("process", procfile_commands())
def test_the_settings_of_each_file_are_complete(process: str) -> None:
    secrets = {"PDPJ_TOKEN": PORTAL_TOKEN, "WEBHOOK_SECRET": WEBHOOK_SECRET}
    keys = {"S3_ACCESS_KEY_ID": "x", "S3_SECRET_ACCESS_KEY": "x"}
    example = env_file(DEPLOY / ".env.example")
    service = {
        name: re.sub(r"\$\{\w+:\?\}", "password", value)
        for name, value in compose()["services"][process]["environment"].items()
    }
    for env in (
        example | secrets | keys,
        example | secrets | service,
        env_file(KUBERNETES / "settings.env")
        | env_file(KUBERNETES / "secrets.env.example")
        | secrets
        | keys,
    ):
        Settings.from_env({name: value for name, value in env.items() if value}, process)


def test_no_file_has_a_secret_of_its_own() -> None:
    for file in (DEPLOY / ".env.example", KUBERNETES / "secrets.env.example"):
        for name, value in env_file(file).items():
            if name in PASSWORDS:
                assert "PASSWORD" in value
            elif name in SECRETS or name.endswith(("_PASSWORD", "_KEY")):
                assert value == ""


def test_the_alerts_are_those_of_the_page() -> None:
    page = (ROOT / "docs" / "howto" / "monitor.md").read_text()
    rows = re.findall(r"^\| `(.*?)`(?: for (\d+) (s|m)(?:in)?)?(?: on any page)? \| ", page, re.M)
    documented = [(text, f"{number}{unit}" if number else None) for text, number, unit in rows]
    rules = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"][0]["rules"]

    found = [(rule["expr"], rule.get("for")) for rule in rules]

    assert found == documented[: len(found)]
    assert "autos_portal_answers_total" in found[-1][0]


def test_the_image_has_all_folders() -> None:
    assert set(copied_folders()) >= {"proto", "storage", "actors", "server"}
    ignore = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert {f"!{name}" for name in copied_folders()} == {
        line for line in ignore if line.startswith("!")
    }


def test_the_image_installs_the_lock_with_hashes_and_nothing_else() -> None:
    installs = [words[2:] for words in build_commands() if words[1:2] == ["install"]]
    lock, package = installs

    assert {"--require-hashes", "--only-binary"} < set(lock)
    assert lock[-2:] == ["--requirement", "requirements.txt"]
    assert "deploy/locked/requirements.txt" in copied_folders()
    assert {"--no-index", "--no-deps", "--no-build-isolation"} < set(package)


def test_the_image_leaves_out_what_generates_code_and_nothing_that_runs() -> None:
    [removed] = [words[3:] for words in build_commands() if words[1:2] == ["uninstall"]]
    problems: list[str] = []
    pins = locked(LOCK, problems)

    kept = {pin.partition("==")[0] for pin in pins} - set(removed)

    assert not problems
    assert removed == ["grpcio-tools", "setuptools"]
    # No package that stays requires one that is removed.
    needed = {name for each in kept for name in _required(each)}
    assert not needed & set(removed)


def _required(package: str) -> set[str]:
    """Return the names of what an installed package requires, its extras left aside."""
    try:
        lines = metadata.requires(package) or []
    except metadata.PackageNotFoundError:
        # Of another Python or platform
        return set()
    return {
        re.sub(r"[-_.]+", "-", name).lower()
        for line in lines
        if "extra ==" not in line and (match := re.match(r"[\w.-]+", line))
        for name in [match[0]]
    }
