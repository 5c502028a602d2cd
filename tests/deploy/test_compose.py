"""The compose file, checked without an engine: it starts what exists, told what is read."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.development import ROLES
from cli.roles import app
from settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service.get("image") == "clusterflow:dev"}
COMMANDS = {command.name or command.callback.__name__ for command in app.registered_commands}


def test_every_role_and_preparation_is_started():
    assert {"web", "grpc", "worker", "sink", "executor", "recorder", "relay", "migrate", "topics"} == set(
        OURS
    )


@pytest.mark.parametrize("name", OURS)
def test_a_service_runs_a_command_that_exists(name):
    assert OURS[name]["command"][0] in COMMANDS


@pytest.mark.parametrize("name", OURS)
def test_a_service_is_told_only_what_settings_read(name):
    assert {variable.lower() for variable in OURS[name]["environment"]} <= set(Settings.model_fields)


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_waits_for_is_there(name):
    assert set(SERVICES[name].get("depends_on", {})) <= set(SERVICES)


def test_the_image_is_built_from_files_that_exist():
    build = OURS["web"]["build"]
    dockerfile = ROOT / build["context"] / build["dockerfile"]
    copied = [line.split()[1] for line in dockerfile.read_text().splitlines() if line.startswith("COPY")]
    assert [name for name in copied if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_published_is_for_this_machine_unless_told_otherwise(name):
    for port in SERVICES[name].get("ports", []):
        assert port.startswith("${PUBLISH_ADDRESS:-127.0.0.1}:")


def test_containers_may_call_the_roles_by_their_names():
    named = OURS["web"]["environment"]["ALLOWED_HOSTS"].partition(":-")[2].rstrip("}").split(",")
    assert {*ROLES} == set(named)


def test_a_container_of_the_image_listens_where_others_reach_it():
    lines = (ROOT / "deploy" / "Dockerfile").read_text().splitlines()
    assert "ENV BIND_HOST=0.0.0.0" in lines


def test_named_volumes_are_declared():
    used = {
        volume.partition(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])
    }
    assert used == set(COMPOSE["volumes"])
