"""The status says what is so, in a table that can be read, and what to do where something isn't as it should be."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from threading import Thread
from types import ModuleType
from typing import Any

import pytest

from .conftest import load

NOW = 1_800_000_000.0
DAY = 86_400
GROUPS = {"app": ["vm1", "vm2"], "edge": ["vm1", "vm2"], "db": ["vm1", "vm2"]}
SHOP: dict[str, Any] = {
    "release": "3f2a91c0d1e2",
    "version": "1.4.2",
    "slot": "blue",
    "unit": "shop@blue.service",
    "state": "active",
    "warm": "",
    "since": NOW - 3 * 3600,
    "health": {"status": 200, "milliseconds": 7.6, "error": ""},
    "workers": {"alive": 2, "wanted": 2, "restarts": 0},
    "deployed": {"release": "3f2a91c0d1e2", "finished_at": "2027-01-15T05:00:00Z"},
    "certificate": NOW + 364.5 * DAY,
    "maintenance": 0,
}
NEVER = SHOP | {
    "release": "",
    "version": "",
    "slot": "",
    "unit": "",
    "state": "",
    "since": 0,
    "health": {"status": 0, "milliseconds": 0, "error": ""},
    "workers": {"alive": 0, "wanted": 0, "restarts": 0},
    "deployed": {},
}


@pytest.fixture(scope="module")
def status() -> ModuleType:
    """Return the filters."""
    return load("plugins/filter/status.py")


@pytest.fixture(scope="module")
def info() -> ModuleType:
    """Return the module that looks at a host."""
    return load("roles/fastapi_app/library/status_info.py")


def look(apps: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return what the module says of a host."""
    return {"now": NOW, "nginx": "active", "postgresql": "active", "apps": apps, **more}


def lines(status: ModuleType, looks: dict[str, Any], **groups: list[str]) -> list[str]:
    """Return the lines of the table."""
    text: str = status.table(status.report(looks, GROUPS | groups))
    return text.splitlines()


def test_all_is_well_and_takes_a_line(status: ModuleType) -> None:
    warm = SHOP | {"slot": "green", "warm": "blue", "since": NOW - 12 * DAY}
    rolled = warm | {"deployed": {**SHOP["deployed"], "status": "rolled_back", "by": "anna"}}
    assert lines(status, {"vm1": look({"shop": SHOP}), "vm2": look({"shop": rolled})}) == [
        "host  app   release               slot              age   health     workers  "
        "last deploy                certificate  maintenance",
        "vm1   shop  3f2a91c0d1e2 (1.4.2)  blue              3 h   200, 8 ms  2/2      "
        "succeeded 3 h ago          364 d        off",
        "vm2   shop  3f2a91c0d1e2 (1.4.2)  green, blue warm  12 d  200, 8 ms  2/2      "
        "rolled back 3 h ago, anna  364 d        off",
    ]


@pytest.mark.parametrize(
    ("changed", "cell", "seen", "then"),
    [
        (NEVER, "NONE", "shop was never released to vm1", "playbooks/deploy.yml"),
        ({"state": "failed"}, "", "shop@blue.service is failed", "journalctl -u shop@blue -n 50"),
        (
            {"health": {"status": 503, "milliseconds": 2, "error": ""}},
            " 503 ",
            "answers its health path with 503, not 200",
            "playbooks/rollback.yml -e app=shop",
        ),
        (
            {"health": {"status": 0, "milliseconds": 5000, "error": "no answer in 5 s"}},
            "NO ANSWER",
            "with no answer in 5 s",
            "journalctl",
        ),
        (
            {"workers": {"alive": 1, "wanted": 4, "restarts": 0}},
            " 1/4 ",
            "1 of 4 workers are alive",
            "Gunicorn says there why",
        ),
        (
            {"workers": {"alive": 2, "wanted": 2, "restarts": 3}},
            "",
            "restarted shop@blue.service 3 times since the switch",
            "journalctl -u shop@blue",
        ),
        (
            {"deployed": {**SHOP["deployed"], "release": "beef", "status": "failed"}},
            "FAILED 3 h ago",
            "the last deploy, of beef, failed; 3f2a91c0d1e2 goes on serving",
            "playbooks/deploy.yml again",
        ),
        ({"certificate": 0}, " - ", "has no certificate", "ansible-playbook site.yml"),
        ({"certificate": NOW + 3 * DAY + 5}, " 3 d ", "ends in 3 d", "ansible-playbook site.yml"),
        ({"certificate": NOW - 2 * DAY + 5}, "ENDED", "ended 2 d ago", "ansible-playbook site.yml"),
        (
            {"maintenance": NOW - 7200},
            " ON",
            "clients get the maintenance page, for 2 h now",
            "playbooks/maintenance.yml -e app=shop -e state=off",
        ),
    ],
)
def test_what_is_not_well_stands_out_and_has_its_next_step(
    status: ModuleType, changed: dict[str, Any], cell: str, seen: str, then: str
) -> None:
    _, row, *below = lines(status, {"vm1": look({"shop": SHOP | changed})})
    assert cell in row
    text = " ".join(line.strip() for line in below)
    assert seen in text.partition("-> ")[0]
    assert then in text.partition("-> ")[2]
    assert max(map(len, below)) <= 110


@pytest.mark.parametrize(
    ("found", "groups", "seen"),
    [
        (
            {"unreachable": True, "msg": "Failed to connect to the host via ssh: refused"},
            {},
            "not reached: refused",
        ),
        ({"failed": True, "msg": "sudo: a password is required"}, {}, "a password is required"),
        ({}, {}, "could not be asked: its inventory has to be mended"),
        (look({}, nginx="failed"), {}, "nginx is failed, so nothing outside reaches"),
        (look({}, nginx=""), {}, "nginx is not installed"),
        (look({}, postgresql="failed"), {}, "PostgreSQL is failed"),
    ],
)
def test_a_host_that_is_not_well_is_told_beside_the_others(
    status: ModuleType, found: dict[str, Any], groups: dict[str, list[str]], seen: str
) -> None:
    said = lines(status, {"vm1": look({"shop": SHOP}), "vm2": found}, **groups)
    assert said[1].startswith("vm1   shop ")
    assert said[2:4] == ["", "vm2"]
    assert seen in " ".join(said[4:])
    assert said[-1].startswith("    ->") or said[-1].startswith("       ")


def test_without_applications_it_says_how_to_get_one(status: ModuleType) -> None:
    assert "make new" in lines(status, {"vm1": look({})})[0]


def test_machines_get_numbers_and_the_same_problems(status: ModuleType) -> None:
    closed = SHOP | {"maintenance": NOW - 60}
    said = json.loads(json.dumps(status.report({"vm1": look({"shop": closed})}, GROUPS)))
    (row,) = said["applications"]
    assert row["age_seconds"] == 10_800
    assert row["certificate_days"] == 364
    assert row["maintenance_seconds"] == 60
    assert row["last_deploy"]["seconds_ago"] == 10_800
    assert [problem["seen"] for problem in row["problems"]] == [
        "clients get the maintenance page, for 60 s now"
    ]
    assert said["hosts"] == [{"host": "vm1", "problems": []}]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3, "0 s"), (59, "59 s"), (90, "90 s"), (7199, "119 min"), (7200, "2 h"), (47 * 3600, "47 h"), (3 * DAY, "3 d")],
)  # fmt: skip
def test_a_span_of_time_is_short(status: ModuleType, seconds: float, text: str) -> None:
    assert status.span(seconds) == text


def kept(status: ModuleType, wanted: str, **repositories: dict[str, Any]) -> list[str]:
    """Return what is said to be wrong with a host's repositories."""
    stdout = f"{NOW}\r\n{wanted}\r\n{json.dumps({'repositories': repositories})}\r\n"
    rows = status.report({}, GROUPS, None, {"vm1": {"stdout": stdout}})["backups"]
    assert len(rows) == len(repositories)
    return [problem["seen"] for row in rows for problem in row["problems"]]


@pytest.mark.parametrize(
    ("wanted", "count", "days", "seen"),
    [
        ("{}", 1, 2.9, ""),
        ("{}", 1, 3.1, "was last proven 3 d ago"),
        # Four are proven in turn.
        ("{}", 4, 5.9, ""),
        ("{}", 4, 6.1, "was last proven 6 d ago"),
        ('{"drills": false}', 1, 99, ""),
        ('{"backups": false, "drills": true}', 1, 99, ""),
    ],
)
def test_a_repository_is_to_be_proven_in_its_turn(
    status: ModuleType, wanted: str, count: int, days: float, seen: str
) -> None:
    good = {"backup": {"ended": NOW - 10}, "backup_ok": True, "since": NOW - 100 * DAY}
    of = good | {"proven": NOW - days * DAY, "drill": {"ok": True}}
    said = kept(status, wanted, **{f"r{n}": of for n in range(count)})
    assert said == ([f"r{n} {seen}" for n in range(count)] if seen else [])
    # One that never was is told of after the same time.
    never = kept(
        status, wanted, **{f"r{n}": good | {"since": NOW - days * DAY} for n in range(count)}
    )
    assert [line.partition(",")[0] for line in never] == (
        [f"r{n} was never proven" for n in range(count)] if seen else []
    )


def test_backups_that_are_turned_off_are_not_missed(status: ModuleType) -> None:
    old = {"backup": {"ended": NOW - 99 * DAY}, "backup_ok": False, "backup_said": "no"}
    assert kept(status, '{"backups": false}', local=old) == []
    assert kept(status, '{"backups": true}', local=old) == ["the last backup into local failed: no"]


# --- The look at a host ----------------------------------------------------------------------


class Server(ThreadingMixIn, UnixStreamServer):
    """A server on a Unix socket."""

    daemon_threads = True


class Handler(BaseHTTPRequestHandler):
    """It answers 200 to its name, and 503 to others."""

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(200 if self.headers["Host"] == "shop.test" else 503)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """Return an application's folder, with a release that serves in the blue slot."""
    home = tmp_path / "shop"
    slot, release = home / "slots/blue", home / "releases/r1"
    slot.mkdir(parents=True)
    release.mkdir(parents=True)
    (home / "live").symlink_to("slots/blue")
    (slot / "release").symlink_to("../../releases/r1")
    (slot / "slipway_server.py").write_text("keepalive = 75\nworkers = 3\n")
    (release / "release.json").write_text('{"id": "r1", "version": "1.0"}')
    with Server(str(slot / "app.sock"), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield home
        server.shutdown()
        thread.join()


def seen(info: ModuleType, home: Path, host: str = "shop.test") -> dict[str, Any]:
    """Return what the module sees of the application."""
    show = (
        "Id=shop@blue.service\nLoadState=loaded\nActiveState=active\nMainPID=1\nNRestarts=2\n\n"
        "Id=shop@green.service\nLoadState=loaded\nActiveState=deactivating\nMainPID=0\nNRestarts=0\n\n"
        "Id=nginx.service\nLoadState=not-found\nActiveState=inactive\n"
    )
    known = info.units(show)
    assert "nginx.service" not in known
    app = {"name": "shop", "host": host, "health": "/up", "site": "shop"}
    result: dict[str, Any] = info.state(home.parent, 0.5, known, {"shop": 5.0}, app)
    return result


def test_what_serves_is_seen_with_its_health(info: ModuleType, home: Path) -> None:
    (home / "releases.jsonl").write_text('{"release": "r0"}\n{"release": "r1"}\n{"rele')
    found = seen(info, home)
    assert (found["release"], found["version"], found["slot"]) == ("r1", "1.0", "blue")
    assert (found["state"], found["warm"]) == ("active", "green")
    assert found["health"]["status"] == 200 and 0 < found["health"]["milliseconds"] < 500
    assert found["workers"]["wanted"] == 3 and found["workers"]["restarts"] == 2
    # A line that a run which was cut off has left unfinished is passed over.
    assert found["deployed"] == {"release": "r1"}
    assert found["certificate"] == 5.0
    assert found["since"] == (home / "live").lstat().st_mtime
    assert seen(info, home, "other.test")["health"]["status"] == 503


def test_an_application_that_does_not_answer_is_no_error(info: ModuleType, home: Path) -> None:
    path = home / "slots/blue/app.sock"
    path.unlink()
    assert seen(info, home)["health"] | {"milliseconds": 0} == {
        "status": 0,
        "milliseconds": 0,
        "error": "no such file or directory",
    }
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen()
        assert seen(info, home)["health"]["error"] == "no answer in 0.5 s"


def test_an_application_that_was_never_released_is_no_error(
    info: ModuleType, tmp_path: Path
) -> None:
    found = seen(info, tmp_path / "shop")
    assert (found["release"], found["slot"], found["unit"], found["state"]) == ("", "", "", "")
    assert found["since"] == found["workers"]["wanted"] == 0
    assert found["deployed"] == {}


def test_each_application_is_asked_by_its_first_domain_and_its_own_health_path(
    status: ModuleType, filters: ModuleType
) -> None:
    common = {"source": "x", "module": "x:app", "domains": ["a.test", "b.test"]}
    apps = filters.validated_apps(
        {"shop": common | {"health": "/up"}, "till": common | {"path": "/till", "health": "/ready"}}
    )
    assert status.asked(apps, filters.sites(apps)) == [
        {"name": "shop", "host": "a.test", "health": "/up", "site": "shop"},
        {"name": "till", "host": "a.test", "health": "/ready", "site": "shop"},
    ]


PENDING = {
    "stdout": "upgrade libssl3 [3.0.13-1] (3.0.15-1 Debian-Security:12/stable-security [amd64])\r\n"
    "upgrade tzdata [2024a] (2024b Debian:12.8/stable [all])\r\n"
    "reboot linux-image-6.1.0-28-amd64\r\n"
}


def test_upgrades_that_wait_and_a_reboot_are_told_below_the_table(status: ModuleType) -> None:
    upgrades = {"vm1": PENDING, "vm2": {"unreachable": True}}
    report = status.report({"vm1": look({"shop": SHOP})}, GROUPS, upgrades=upgrades)
    (row,) = report["upkeep"]
    assert (row["host"], row["security"]) == ("vm1", ["libssl3"])
    said = " ".join(status.table(report).split())
    assert "vm1 security upgrades wait: libssl3." in said
    assert "playbooks/patch.yml --limit vm1" in said
    assert "it needs a reboot, for linux-image-6.1.0-28-amd64." in said
    assert "tzdata" not in said


def test_one_of_the_database_is_told_apart(status: ModuleType) -> None:
    line = "upgrade postgresql-15 [15.8-0] (15.10-0 Debian-Security:12/stable-security [amd64])"
    report = status.report({}, GROUPS, upgrades={"vm1": {"stdout": line}})
    (problem,) = report["upkeep"][0]["problems"]
    assert problem["seen"] == "a security upgrade of PostgreSQL waits"
    assert "playbooks/upgrade_database.yml --limit vm1" in problem["next"]

    # Beside others it is named in its own line alone.
    both = {"vm1": {"stdout": f"{PENDING['stdout']}{line}"}}
    (row,) = status.report({}, GROUPS, upgrades=both)["upkeep"]
    assert row["security"] == ["libssl3", "postgresql-15"]
    assert [one["seen"] for one in row["problems"]] == [
        "security upgrades wait: libssl3",
        "a security upgrade of PostgreSQL waits",
        "it needs a reboot, for linux-image-6.1.0-28-amd64",
    ]


def test_a_host_is_named_once_whatever_there_is_to_say_of_it(status: ModuleType) -> None:
    looks = {"vm1": look({"shop": SHOP}) | {"nginx": "failed"}}
    text = status.table(status.report(looks, GROUPS, upgrades={"vm1": PENDING}))
    assert [line for line in text.splitlines() if line == "vm1"] == ["vm1"]
    assert "nginx is failed" in text and "libssl3" in text


def test_a_host_that_is_up_to_date_takes_no_line(status: ModuleType) -> None:
    quiet = {"vm1": {"stdout": "\r\n"}, "vm2": {}}
    looks = {"vm1": look({"shop": SHOP})}
    report = status.report(looks, GROUPS, upgrades=quiet)
    assert report["upkeep"] == []
    assert status.table(report) == status.table(status.report(looks, GROUPS))
