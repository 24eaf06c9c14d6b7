"""The compose file and the image say what the platform understands."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

import grpc_gateway.config
import quasar.config
from quasar.cli.__main__ import cli
from quasar.config import PARTS
from quasar.environment import Environment
from quasar.secrets import SystemContext

ROOT = Path(__file__).resolve().parents[3]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def known_variables() -> set[str]:
    """What the platform reads, with the `_FILE` forms."""
    sources = [
        Path(str(module.__file__)).read_text(encoding="utf-8") for module in (quasar.config, grpc_gateway.config)
    ]
    named = set(re.findall(r"\"(QUASAR_[A-Z_]+)\"", "".join(sources)))
    named |= {part.port_variable for part in PARTS} | {part.address_variable for part in PARTS}
    return named | {f"{name}_FILE" for name in named}


def mounted(service: Mapping[str, Any]) -> set[str]:
    return {f"/run/secrets/{name}" for name in service.get("secrets", [])}


def test_every_process_of_the_platform_has_a_container() -> None:
    commands = {service["command"][0] for service in OURS.values()}
    assert commands == {"db", "registry", "datahub", "strategy-engine", "gateway"}


@pytest.mark.parametrize("name", OURS)
def test_the_command_of_a_container_exists(name: str) -> None:
    command: Any = cli
    for word in OURS[name]["command"]:
        assert word in command.commands
        command = command.commands[word]


@pytest.mark.parametrize("name", OURS)
def test_every_setting_of_a_container_is_one_that_is_read(name: str) -> None:
    settings = {variable for variable in OURS[name]["environment"] if variable.startswith("QUASAR_")}
    assert settings - known_variables() == set()


def test_every_setting_of_the_image_is_one_that_is_read() -> None:
    assert set(re.findall(r"QUASAR_[A-Z_]+", DOCKERFILE)) - known_variables() == set()


@pytest.mark.parametrize("name", SERVICES)
def test_every_secret_that_a_container_reads_is_mounted_into_it(name: str) -> None:
    service = SERVICES[name]
    read = {str(value) for value in service.get("environment", {}).values() if str(value).startswith("/run/secrets/")}
    without = name == "gateway"  # it is given the path by the shared settings, and opens no secret
    assert without or read <= mounted(service)
    assert {Path(path).name for path in mounted(service)} <= set(COMPOSE["secrets"])


def test_only_the_migration_has_the_password_of_the_owner() -> None:
    with_url = [name for name, service in OURS.items() if "database_url" in service["secrets"]]
    assert with_url == ["migrate"]
    for name in ("registry", "datahub", "strategy-engine"):
        assert OURS[name]["environment"]["QUASAR_DATABASE_URL"] == "postgresql://timescaledb:5432/quasar"


@pytest.mark.parametrize("name", [name for name in SERVICES if name != "migrate"])
def test_what_runs_for_long_has_a_health_check_and_comes_back(name: str) -> None:
    assert SERVICES[name]["restart"] == "unless-stopped"
    assert SERVICES[name]["healthcheck"]["test"]


@pytest.mark.parametrize("name", ["registry", "datahub", "strategy-engine"])
def test_the_health_check_of_a_service_asks_that_service(name: str) -> None:
    _, program, verb, option, asked = SERVICES[name]["healthcheck"]["test"]
    assert (program, verb, option) == ("quasar", "status", "--service")
    assert asked == name.removesuffix("-engine")
    assert any("--service" in parameter.opts for parameter in cli.commands["status"].params)


def test_published_ports_are_those_of_the_platform_and_on_the_loopback_address_only() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert sorted(published) == sorted(f"127.0.0.1:{part.default_port}:{part.default_port}" for part in PARTS)


def test_containers_can_neither_gain_rights_nor_write_outside_their_volumes() -> None:
    for service in OURS.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.search(r"^USER quasar$", DOCKERFILE, re.MULTILINE)


def test_the_image_copies_the_manifest_of_every_npm_workspace() -> None:
    workspaces = json.loads((ROOT / "package.json").read_text(encoding="utf-8"))["workspaces"]
    for workspace in workspaces:
        assert f"COPY {workspace}/package.json {workspace}/" in DOCKERFILE


def test_secrets_are_made_once_and_can_be_used(tmp_path: Path) -> None:
    script, folder = ROOT / "deploy" / "make-secrets.sh", tmp_path / "secrets"
    for _ in range(2):
        subprocess.run(["sh", script, folder], check=True, capture_output=True, timeout=60)
        made = {file.name: file.read_bytes() for file in folder.iterdir()}
        assert set(made) == set(COMPOSE["secrets"])
    SystemContext(made["system_context"])
    url = Environment({"URL_FILE": str(folder / "database_url")}).database_url("URL")
    assert url == f"postgresql://quasar:{made['database_password'].decode()}@timescaledb:5432/quasar"
    assert folder.stat().st_mode & 0o077 == 0
    again = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert again == made


def test_no_secret_is_part_of_the_image_or_the_repository() -> None:
    assert "deploy/secrets" in (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert (ROOT / "deploy" / "secrets" / ".gitignore").read_text(encoding="utf-8").split() == ["*", "!.gitignore"]
