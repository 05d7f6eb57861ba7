"""The role baseline refuses what can't be, with the variable and the fix."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import yaml

from .conftest import ROOT, load

DEFAULTS: dict[str, Any] = yaml.safe_load((ROOT / "roles/baseline/defaults/main.yml").read_text())


@pytest.fixture(scope="module")
def baseline() -> ModuleType:
    """Return the filters."""
    return load("plugins/filter/baseline.py")


def test_nothing_is_wrong_with_the_defaults(baseline: ModuleType) -> None:
    assert baseline.errors(DEFAULTS) == []


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("baseline_upgrades_origins", ['o=Debian"; Unattended-Upgrade::Mail "me'], "'origin="),
        ("baseline_upgrades_origins", ["Debian"], "write fields with commas"),
        ("baseline_upgrades_reboot_at", 270, "is 270; write a time of day in quotes"),
        ("baseline_upgrades_reboot_at", "24:00", "such as '04:30'"),
        ("baseline_time_servers", ["a b"], "such as ntp.example.org"),
        ("baseline_modules_blocked", ["dccp\ninstall"], "names of modules"),
        ("baseline_umask", 23, "write it in quotes, such as '027'"),
        ("baseline_umask", 0o177, "baseline_umask is 127; write it in quotes"),
        ("baseline_umask", 0, "write it in quotes, such as '027'"),
        ("baseline_shell_timeout", -1, "or 0 for never"),
        ("baseline_sysctl_settings", {"kernel.sysrq": "0\nkernel.x = 1"}, "a value of one line"),
        ("baseline_sysctl_settings", {"sysrq": 0}, "as sysctl(8) has it"),
    ],
)
def test_what_can_not_be_is_refused_with_the_fix(
    baseline: ModuleType, name: str, value: Any, message: str
) -> None:
    (said,) = baseline.errors(DEFAULTS | {name: value})
    assert said.startswith(name) and message in said


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("baseline_upgrades_origins", ["site=packages.example.org,component=main", "origin=*"]),
        ("baseline_upgrades_reboot_at", "04:30"),
        ("baseline_time_servers", ["ntp.example.org", "192.0.2.1", "2001:db8::1"]),
        ("baseline_umask", "0077"),
        ("baseline_sysctl_settings", {"net.ipv4.conf.eth0/200.forwarding": 1, "vm.swappiness": ""}),
    ],
)
def test_what_can_be_is_let_through(baseline: ModuleType, name: str, value: Any) -> None:
    assert baseline.errors(DEFAULTS | {name: value}) == []
