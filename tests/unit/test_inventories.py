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

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path for path in (ROOT / "roles").iterdir() if path.is_dir())
SINGLE = ROOT / "inventories/single"
EXAMPLE = SINGLE / "group_vars/all/main.yml"


def variables(path: Path) -> dict[str, Any]:
    """Return what a file of group_vars says."""
    said: dict[str, Any] = yaml.safe_load(path.read_text())
    return said


@pytest.mark.parametrize("inventory", ["local", "single"])
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
    defaults: dict[str, Any] = {}
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
