"""Read the files in deploy/: what they start, and with which settings."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import yaml

from dev.embedded.sandbox import ROOT
from dev.processes.supervisor import read_procfile

DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
SYSTEMD = DEPLOY / "systemd"
DOCKERFILE = DEPLOY / "Dockerfile"
# A command without its Python, such as ("actors", "worker"), by the name of its process.
Commands = dict[str, tuple[str, ...]]


def procfile_commands() -> Commands:
    """Return the commands of the Procfile."""
    lines = read_procfile(ROOT / "Procfile")
    return {name: tuple(shlex.split(line)[2:]) for name, line in lines.items()}


def compose() -> dict[str, Any]:
    """Return compose.yaml."""
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return loaded


def compose_commands() -> Commands:
    """Return the commands of the services that run the image of Autos."""
    services = compose()["services"]
    return {
        name: tuple(service["command"])
        for name, service in services.items()
        if service["image"].startswith("autos:")
    }


def compose_checks() -> dict[str, list[str]]:
    """Return the commands of the health checks of Autos' services."""
    services = compose()["services"]
    checks = {name: services[name].get("healthcheck") for name in compose_commands()}
    return {name: check["test"][1:] for name, check in checks.items() if check}


def manifests() -> list[dict[str, Any]]:
    """Return every object for Kubernetes."""
    files = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["resources"]
    return [each for file in files for each in yaml.safe_load_all((KUBERNETES / file).read_text())]


def pods() -> dict[str, dict[str, Any]]:
    """Return the specification of each pod by the name of its job, deployment or set."""
    return {
        each["metadata"]["name"]: each["spec"]["template"]["spec"]
        for each in manifests()
        if "template" in each.get("spec", {})
    }


def kubernetes_commands() -> Commands:
    """Return the commands of all containers."""
    containers = [each for pod in pods().values() for each in pod["containers"]]
    return {each["name"]: tuple(each["args"]) for each in containers}


def unit(file: Path) -> dict[str, str]:
    """Return the directives of a systemd unit; of repeated ones the last."""
    pairs = re.findall(r"^(\w+)=(.*)$", file.read_text(), re.M)
    return dict(pairs)


def systemd_commands() -> Commands:
    """Return the commands of the units that autos.target wants."""
    wanted = re.findall(r"^Wants=(.*)$", (SYSTEMD / "autos.target").read_text(), re.M)
    commands: Commands = {}
    for name in " ".join(wanted).split():
        stem, _, instance = name.removesuffix(".service").partition("@")
        file = SYSTEMD / f"{stem}{'@' if instance else ''}.service"
        python, flag, *words = unit(file)["ExecStart"].replace("%i", instance).split()
        assert (python, flag) == ("/srv/autos/.venv/bin/python", "-m")
        commands[instance or stem.removeprefix("autos-")] = tuple(words)
    return commands


def copied_folders() -> list[str]:
    """Return what the Dockerfile copies out of the checkout."""
    copies = re.findall(r"^COPY (?!--)(.*) \S+$", DOCKERFILE.read_text(), re.M)
    return [name for line in copies for name in line.split()]


def build_stage() -> str:
    """Return the first stage of the Dockerfile, with one instruction a line."""
    text = DOCKERFILE.read_text().replace("\\\n", " ")
    return text.partition("\nFROM ")[2].partition("\nFROM ")[0]


def build_commands() -> list[list[str]]:
    """Return the commands that build the image, as words."""
    lines = re.findall(r"^RUN (.*)$", build_stage(), re.M)
    return [shlex.split(command) for line in lines for command in line.split("&&")]


def env_file(file: Path) -> dict[str, str]:
    """Return the variables of a file in the form of Docker's and systemd's."""
    pairs = re.findall(r"^([A-Z0-9_]+)=(.*)$", file.read_text(), re.M)
    return dict(pairs)
