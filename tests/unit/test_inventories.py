"""The inventories that people start from say nothing that the roles do not understand."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from .conftest import load

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path for path in (ROOT / "roles").iterdir() if path.is_dir())
SINGLE = ROOT / "inventories/single"
EXAMPLE = SINGLE / "group_vars/all/main.yml"


def variables(path: Path) -> dict[str, Any]:
    """Return what a file of group_vars says."""
    said: dict[str, Any] = yaml.safe_load(path.read_text())
    return said


@pytest.mark.parametrize("inventory", ["local", "several", "single", "smallest"])
def test_what_it_says_is_understood(filters: ModuleType, inventory: str) -> None:
    said = variables(ROOT / f"inventories/{inventory}/group_vars/all/main.yml")
    assert filters.app_errors(said.pop("apps")) == []
    assert said
    for name in said:
        (role,) = (role for role in ROLES if name.startswith(f"{role.name}_"))
        assert filters.unknown_options([name], str(role)) == []


def test_the_example_puts_one_host_into_every_group() -> None:
    command = (Path(sys.executable).with_name("ansible-inventory"), "-i", SINGLE, "--list")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    listed = json.loads(done.stdout)
    assert list(listed["_meta"]["hostvars"]) == ["vm1"]
    assert "apps" in listed["_meta"]["hostvars"]["vm1"]
    assert {group: listed[group]["hosts"] for group in ("edge", "app", "db")} == {
        "edge": ["vm1"],
        "app": ["vm1"],
        "db": ["vm1"],
    }


def test_what_the_example_shows_as_a_default_is_the_default() -> None:
    shown = yaml.safe_load(
        "\n".join(re.findall(r"^# ([a-z]+_[a-z_]+: .+)$", EXAMPLE.read_text(), re.M))
    )
    defaults: dict[str, Any] = {
        "db_memory_share": 0.5,
        "app_memory_max": "50%",
    }  # of playbooks/vars/stack.yml
    for role in ROLES:
        defaults |= variables(role / "defaults/main.yml")
    assert len(shown) > 5
    assert shown == {name: defaults.get(name) for name in shown}


def test_the_application_that_the_example_leaves_out_would_be_understood(
    filters: ModuleType,
) -> None:
    lines = re.findall(r"^  # ( *[a-z]+:.*)$", EXAMPLE.read_text(), re.MULTILINE)
    apps = yaml.safe_load("\n".join(lines))
    assert list(apps) == ["shop"]
    assert filters.app_errors(apps) == []


@pytest.mark.parametrize(
    ("inventory", "groups"),
    [
        ("smallest", {"app": ["vm1"]}),
        ("several", {"edge": ["lb1"], "app": ["app1", "app2"]}),
    ],
)
def test_each_form_has_hosts_that_make_sense(
    filters: ModuleType, inventory: str, groups: dict[str, list[str]]
) -> None:
    folder = ROOT / "inventories" / inventory
    command = (Path(sys.executable).with_name("ansible-inventory"), "-i", folder, "--list")
    listed = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout)
    assert {name: listed.get(name, {}).get("hosts", []) for name in ("edge", "app", "db")} == {
        **{"edge": [], "app": [], "db": []},
        **groups,
    }
    hosts = listed["_meta"]["hostvars"]
    places = {
        **{"edge": [], "app": [], "db": [], **groups},
        "address": {host: said.get("slipway_address", "") for host, said in hosts.items()},
        "reached": {host: said["ansible_host"] for host, said in hosts.items()},
        "weight": {host: said.get("slipway_weight", 1) for host, said in hosts.items()},
        "apps": dict.fromkeys(hosts, ("shop",)),
    }
    apps = filters.validated_apps(variables(folder / "group_vars/all/main.yml")["apps"])
    servers = load("plugins/filter/servers.py")
    assert [servers.errors(apps, places, host) for host in hosts] == [[] for _ in hosts]
