"""An application in its sandbox does all that applications do, and nothing of what only an intruder would."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.stack import Stack

URL = "https://keeper.test"


def live(stack: Stack, app: str = "keeper") -> str:
    """Return the unit of the slot that serves."""
    slot = stack.run(f"readlink /srv/{app}/live").strip().rpartition("/")[2]
    return f"{app}@{slot}.service"


def said(stack: Stack, method: str, path: str, **more: Any) -> Any:
    """Return what the application answers, which must be 200."""
    answer = stack.request(method, f"{URL}{path}", **more)
    assert answer.status_code == 200, answer.text + stack.journal("keeper@*")
    return answer.json()


def tried(stack: Stack, what: str, thing: str = "") -> str:
    """Return the error that the application gets for something, empty if it is let."""
    error: str = said(stack, "POST", f"/try/{what}", json={"with": thing})
    return error


# --- How little is exposed -------------------------------------------------------------------


def exposed(stack: Stack, unit: str, most: float) -> str:
    """Return what is exposed of a unit if that is more than it may be, 0 being nothing and 10 all; else nothing."""
    analyze = "systemd-analyze security --no-pager"
    if stack.host.run(f"{analyze} --threshold={int(most * 10)} {unit}").rc == 0:
        return ""
    rows = json.loads(stack.host.run(f"{analyze} --json=short {unit}").stdout)
    return "\n".join(f"{row['exposure']} {row['name']}" for row in rows if row["exposure"])


@pytest.mark.parametrize("app", ["keeper", "tally"])
def test_of_an_application_next_to_nothing_is_exposed(stack: Stack, app: str) -> None:
    unit = live(stack, app)
    assert exposed(stack, unit, 1.5) == ""
    assert exposed(stack, unit, 0.1) != ""


@pytest.mark.parametrize(
    ("unit", "most"),
    [("nginx.service", 3.5), ("postgresql@*-main.service", 3.5)],
)
def test_of_servers_less_is_exposed_than_debian_leaves_open(
    stack: Stack, unit: str, most: float
) -> None:
    name = stack.run(f"systemctl list-units --plain --no-legend '{unit}'").split()[0]
    assert exposed(stack, name, most) == ""
    # It is in force, and not only written: a server keeps what it was started with.
    process = stack.run(f"systemctl show --value --property=MainPID {name}").strip()
    assert "NoNewPrivs:\t1" in stack.run(f"cat /proc/{process}/status")


def test_no_unit_of_ours_has_a_line_that_systemd_does_not_know(stack: Stack) -> None:
    said = stack.run("journalctl --boot --no-pager --output=cat _PID=1")
    assert "keeper@" in said
    for complaint in ("Unknown key", "Failed to parse", "Invalid syscall", "Unknown capability"):
        lines = [line for line in said.splitlines() if complaint in line]
        assert [line for line in lines if "/etc/systemd/system/" in line] == []


# --- What works ------------------------------------------------------------------------------


def test_uploads_are_kept_and_given_back(stack: Stack) -> None:
    body = b"0123456789abcdef" * 65536 * 4
    assert said(stack, "PUT", "/files/four", content=body) == {"size": len(body)}
    assert stack.get(f"{URL}/files/four").content == body


def test_a_websocket_stays_open(stack: Stack) -> None:
    with stack.websocket("wss://keeper.test/ws") as socket:
        for text in ("one", "two"):
            socket.send(text)
            assert socket.recv(timeout=10) == text


def test_names_are_resolved_and_other_hosts_asked_by_tls(stack: Stack, stacks: list[Stack]) -> None:
    other = next(each for each in stacks if each.name != stack.name)
    assert other.address in said(stack, "GET", "/resolve", params={"name": other.name})
    given = {"address": other.address, "name": "tally.test", "authority": other.ca.read_text()}
    assert said(stack, "POST", "/fetch", json=given) == "HTTP/1.1 200 OK"


@pytest.mark.parametrize(
    ("what", "comes"),
    [
        ("pool", [0, 1, 4, 9]),
        ("callback", 49),
        ("scratch", "well"),
        ("memory", True),
        ("load", 3),
        ("interfaces", True),
    ],
)
def test_what_libraries_do_works(stack: Stack, what: str, comes: Any) -> None:
    assert said(stack, "GET", f"/ability/{what}") == comes


# --- What doesn't ----------------------------------------------------------------------------


def test_it_writes_to_its_shared_folder_and_nowhere_else(stack: Stack) -> None:
    assert tried(stack, "write", "/srv/keeper/shared") == ""
    for folder in ("/etc", "/usr/local/bin", "/var/lib", "/opt", "/srv/keeper/live/release/src"):
        assert tried(stack, "write", folder) == "EROFS", folder
    source = "/srv/keeper/live/release/src/main.py"
    assert tried(stack, "read", source) == ""
    assert tried(stack, "change", source) in ("EROFS", "EACCES")
    # Not for a reason that would hold without a sandbox, too: there anybody may write.
    stack.run("install --directory --mode=0777 /var/lib/open")
    assert tried(stack, "write", "/var/lib/open") == "EROFS"
    stack.run("rm -r /var/lib/open")


def test_it_has_a_tmp_of_its_own(stack: Stack) -> None:
    stack.run("echo here >/tmp/everybodys; chmod 0644 /tmp/everybodys")
    assert tried(stack, "read", "/tmp/everybodys") == "ENOENT"
    assert tried(stack, "write", "/tmp") == ""
    assert stack.host.run("test -e /tmp/mine").rc != 0


def test_it_sees_no_homes_no_devices_and_no_processes_of_others(stack: Stack) -> None:
    stack.run("install --directory --mode=0777 /home/open && echo a >/home/open/a")
    assert tried(stack, "read", "/home/open/a") == "EACCES"
    assert tried(stack, "list", "/root") == "EACCES"
    stack.run("rm -r /home/open")
    assert tried(stack, "read", "/dev/kmsg") == "ENOENT"
    others = stack.run("pgrep --oldest nginx").strip()
    assert tried(stack, "read", f"/proc/{others}/cmdline") == "ENOENT"


@pytest.mark.parametrize("app", ["tally", "probeable"])
def test_it_reads_nothing_of_another_applications(stack: Stack, app: str) -> None:
    for path in (f"/srv/{app}/live/environment", f"/srv/{app}/live/release/src/main.py"):
        stack.run(f"test -e {path}")
        assert tried(stack, "read", path) == "EACCES"
    assert tried(stack, "list", f"/run/{app}") == "EACCES"


@pytest.mark.parametrize(
    ("what", "thing", "error"),
    [
        ("namespace", "", "EPERM"),
        ("mount", "/tmp", "EPERM"),
        ("packet", "", "EAFNOSUPPORT"),
        ("nice", "", "EPERM"),
        ("hostname", "other", "EPERM"),
        ("setuid", "/srv/keeper/shared/mine", "EPERM"),
    ],
)
def test_it_asks_the_kernel_in_vain(stack: Stack, what: str, thing: str, error: str) -> None:
    assert tried(stack, "write", "/srv/keeper/shared") == ""
    assert tried(stack, what, thing) == error


def test_it_has_limits(stack: Stack) -> None:
    asked = "MemoryMax,TasksMax,CPUWeight,OOMPolicy"
    lines = stack.run(f"systemctl show --property={asked} {live(stack)}").split()
    limits = dict(line.split("=") for line in lines)
    memory = int(stack.run("awk '/^MemTotal/ {print $2}' /proc/meminfo")) * 1024
    # Half of the host's: the database is on it, too. What cgroups can't enforce is known all the same.
    assert 0.45 * memory < int(limits["MemoryMax"]) < 0.55 * memory
    assert 100 < int(limits["TasksMax"]) < 10**6
    assert (limits["CPUWeight"], limits["OOMPolicy"]) == ("100", "continue")


def test_a_process_that_is_killed_for_its_memory_is_one_of_several(stack: Stack) -> None:
    # What the kernel does where there is no more: the worker goes, the unit stays.
    unit = live(stack)
    main = stack.run(f"systemctl show --value --property=MainPID {unit}").strip()
    worker = stack.run(f"pgrep --oldest --parent {main}").strip()
    stack.run(f"kill -KILL {worker}")
    assert said(stack, "GET", "/up")["release"]
    assert stack.run(f"systemctl show --value --property=MainPID {unit}").strip() == main


def test_what_an_application_says_of_its_sandbox_is_in_force(stack: Stack) -> None:
    # The scenario has it refuse a network; the address is one of nobody's.
    denied = stack.run(f"systemctl show --value --property=IPAddressDeny {live(stack)}").strip()
    assert denied == "169.254.169.254/32"
