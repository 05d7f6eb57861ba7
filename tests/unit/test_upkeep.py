"""What hosts say of upgrades is read as they meant it, and told so that somebody can act on it."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from .conftest import load

# As apt-get 2.6 and needrestart 3.6 print it, over a terminal.
LOOK = """\
upgrade libc6 [2.36-9+deb12u7] (2.36-9+deb12u9 Debian:12.8/stable [amd64]) [libc-bin:amd64 on libc6:amd64]\r
upgrade libssl3 [3.0.13-1~deb12u1] (3.0.15-1~deb12u1 Debian-Security:12/stable-security [amd64])\r
upgrade linux-image-6.1.0-28-amd64 (6.1.119-1 Debian-Security:12/stable-security [amd64])\r
upgrade linux-image-amd64 [6.1.115-1] (6.1.119-1 Debian-Security:12/stable-security [amd64])\r
upgrade nginx [1.22.1-9] (1.22.1-9+deb12u1 Debian:12.8/stable, Debian-Security:12/stable-security [amd64])\r
upgrade postgresql-15 [15.8-0+deb12u1] (15.10-0+deb12u1 Debian-Security:12/stable-security [amd64])\r
upgrade tool [1.0] (1.1 packages.example.org [all])\r
reboot linux-image-6.1.0-28-amd64 libc6\r
reboot linux-image-6.1.0-28-amd64\r
restart cron.service\r
restart dbus.service\r
restart nginx.service\r
restart postgresql@15-main.service\r
restart shop@blue.service\r
restart systemd-manager\r
restart docker.service\r
restart wg-quick@wg0.service\r
refuses auditd.service\r
"""
QUIET: dict[str, Any] = {
    "check": False,
    "rebooted": False,
    "restarted": [],
    "kept": [],
    "reboot": [],
    "drained": [],
}


@pytest.fixture(scope="module")
def upkeep() -> ModuleType:
    """Return the filters."""
    return load("plugins/filter/upkeep.py")


def test_security_upgrades_are_told_from_others_and_the_database_from_both(
    upkeep: ModuleType,
) -> None:
    plan = upkeep.read(LOOK)
    # What is new comes with what needs it.
    assert plan["names"] == ["libssl3", "linux-image-amd64", "nginx"]
    assert [one["name"] for one in plan["later"]] == ["libc6", "tool"]
    assert [one["name"] for one in plan["database"]] == ["postgresql-15"]
    assert plan["upgrades"][0]["new"] == "3.0.15-1~deb12u1"
    assert upkeep.read(LOOK, everything=True)["names"] == [
        "libc6",
        "libssl3",
        "linux-image-amd64",
        "nginx",
        "tool",
    ]


def test_what_would_cut_the_run_off_and_the_database_are_not_restarted(upkeep: ModuleType) -> None:
    plan = upkeep.read(LOOK)
    assert plan["restarts"] == ["cron.service", "nginx.service", "shop@blue.service"]
    assert plan["kept"] == [
        "auditd.service",
        "dbus.service",
        "docker.service",
        "postgresql@15-main.service",
        "systemd-manager",
        "wg-quick@wg0.service",
    ]


def test_a_reboot_is_told_with_what_it_is_for(upkeep: ModuleType) -> None:
    assert upkeep.read(LOOK)["reboot"] == ["libc6", "linux-image-6.1.0-28-amd64"]
    assert upkeep.read("reboot \r\n")["reboot"] == ["an upgrade"]
    assert upkeep.read("")["reboot"] == []


def test_an_up_to_date_host_has_nothing_to_do(upkeep: ModuleType) -> None:
    plan = upkeep.read("\r\n")
    assert not plan["names"] and not plan["restarts"] and not plan["blind"]
    assert upkeep.told(plan, QUIET) == ["nothing was to be done."]


@pytest.mark.parametrize(
    ("before", "after", "worse"),
    [
        ("answer shop 200", "answer shop 200", []),
        ("answer shop 503", "answer shop 503", []),  # it was so before
        ("answer shop 200", "answer shop 502", ["shop answers 502 where it has answered 200"]),
        ("answer shop 200", "", ["shop answers not at all where it has answered 200"]),
        ("failed a.service", "failed a.service", []),
        ("failed a.service", "failed a.service\r\nfailed b.service", ["b.service has failed"]),
    ],
)
def test_only_what_has_become_worse_stops_a_run(
    upkeep: ModuleType, before: str, after: str, worse: list[str]
) -> None:
    assert upkeep.worse(f"{before}\r\n", f"{after}\r\n") == worse


def test_what_was_done_is_told(upkeep: ModuleType) -> None:
    plan = upkeep.read(LOOK)
    done = QUIET | {"restarted": ["nginx.service"], "drained": ["edge1"], "kept": plan["kept"]}
    text = " ".join(upkeep.told(plan, done | {"reboot": plan["reboot"]}))
    assert "upgraded were: libssl3 3.0.15-1~deb12u1" in text
    assert "edge1 sent it no requests meanwhile." in text
    assert "restarted were: nginx.service." in text
    assert "it needs a reboot, for libc6, linux-image-6.1.0-28-amd64" in text
    assert "a minor version of PostgreSQL waits for playbooks/upgrade_database.yml." in text
    assert "2 upgrades are not about security; -e all=true" in text
    assert "until a reboot: auditd.service, dbus.service" in text


def test_a_reboot_has_restarted_everything(upkeep: ModuleType) -> None:
    plan = upkeep.read(LOOK)
    done = QUIET | {"rebooted": True, "kept": plan["kept"], "reboot": plan["reboot"]}
    text = " ".join(upkeep.told(plan, done))
    assert "it was rebooted." in text
    assert "needs a reboot" not in text and "old library" not in text


def test_a_dry_run_says_what_would_be(upkeep: ModuleType) -> None:
    text = " ".join(upkeep.told(upkeep.read(LOOK), QUIET | {"check": True}))
    assert "upgraded would be: libssl3" in text and "were" not in text
    assert "is known when they are there" in text


def test_without_needrestart_it_says_that_it_knows_less(upkeep: ModuleType) -> None:
    plan = upkeep.read("unknown restarts\r\n")
    assert "baseline_needrestart" in " ".join(upkeep.told(plan, QUIET))


def test_many_names_are_cut_short(upkeep: ModuleType) -> None:
    assert upkeep.listed([f"p{number}" for number in range(30)]).endswith("p11 and 18 more")
