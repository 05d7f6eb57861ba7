"""Somebody on the next host, and an application that was taken over: each thing that they try is refused.

Each attack has a control in the same test: the same thing where it is allowed, which shows that it would be seen to
succeed. A fork bomb and a memory hog take a kernel of their own: molecule/metal.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator

import pytest
from tests.hardening import (
    TALLYS_SECRET,
    attack,
    inside,
    listening,
    outside,
    reached,
)
from tests.sql import answer
from tests.stack import Stack

PASSWORD = "guessed-at-last"
FORGED = {
    "X-Forwarded-For": "192.0.2.66",
    "X-Forwarded-Proto": "http",
    "X-Real-IP": "192.0.2.66",
    "Forwarded": "for=192.0.2.66;proto=http",
}


# --- From the next host ----------------------------------------------------------------------


@pytest.fixture
def guessed(stack: Stack, bare: Stack) -> Iterator[None]:
    """Have the attacker know the passwords of a user, and of root on the host that is attacked."""
    for host in (stack, bare):
        host.run("id victim || useradd --create-home --shell /bin/bash victim")
        host.run(f"echo victim:{PASSWORD} | chpasswd")
    shadow = stack.run("getent shadow root").split(":")[1]
    stack.run(f"echo root:{PASSWORD} | chpasswd")
    yield
    stack.run(f"usermod --password {shlex.quote(shadow)} root")
    for host in (stack, bare):
        host.run("userdel --remove --force victim")


def by_password(attacker: Stack, target: Stack, user: str) -> tuple[int, str]:
    """Log in by the password and nothing else; return what came of it."""
    attacker.run(f"printf '#!/bin/sh\\necho {PASSWORD}\\n' >/root/askpass; chmod +x /root/askpass")
    options = {
        "PreferredAuthentications": "password,keyboard-interactive",
        "PubkeyAuthentication": "no",
        "NumberOfPasswordPrompts": "1",
        "StrictHostKeyChecking": "no",
        "UserKnownHostsFile": "/dev/null",
        "LogLevel": "ERROR",
        "ConnectTimeout": "10",
    }
    words = " ".join(f"-o {name}={value}" for name, value in options.items())
    done = attacker.host.run(
        "SSH_ASKPASS=/root/askpass SSH_ASKPASS_REQUIRE=force "
        # Not the 255 of ssh itself, of which testinfra takes it that the attacker wasn't reached.
        f"ssh {words} {user}@{target.address} id -un 2>&1 || exit 1"
    )
    return done.rc, done.stdout.strip()


@pytest.mark.usefixtures("guessed")
def test_a_password_opens_nothing_though_it_is_right(
    stack: Stack, attacker: Stack, bare: Stack
) -> None:
    assert by_password(attacker, bare, "victim") == (0, "victim")
    for user in ("victim", "root"):
        with attack(stack, f"SSH by the right password of {user}"):
            code, said = by_password(attacker, stack, user)
            assert code == 1
            assert "Permission denied (publickey)" in said, said


def test_a_forged_address_is_not_believed(stack: Stack, attacker: Stack) -> None:
    headers = " ".join(f"--header '{name}: {value}'" for name, value in FORGED.items())
    # Who speaks to the application's socket is believed: Nginx does, and nobody else can.
    direct = f"curl --silent --unix-socket /srv/probeable/live/app.sock {headers} http://probeable.test/seen"
    assert json.loads(stack.run(direct))["client"] == FORGED["X-Real-IP"]
    with attack(stack, "forged X-Forwarded-For"):
        seen = attacker.run(
            f"curl --silent --cacert /root/{stack.name}.pem "
            f"--resolve probeable.test:443:{stack.address} {headers} https://probeable.test/seen"
        )
        assert json.loads(seen) == {"client": attacker.address, "scheme": "https"}


@pytest.mark.parametrize(
    ("port", "what"),
    [(5432, "PostgreSQL's"), (8000, "an application's"), (2222, "a second sshd's"), (9100, "an exporter's")],
)  # fmt: skip
def test_a_port_that_was_not_promised_is_shut_whatever_listens_there(
    stack: Stack, attacker: Stack, bare: Stack, port: int, what: str
) -> None:
    with listening(bare, port):
        assert reached(attacker, bare.address, port)
    with listening(stack, port), attack(stack, f"port {port}, {what}"):
        assert not reached(attacker, stack.address, port)
    assert reached(attacker, stack.address, 443)


def test_the_database_is_not_for_other_hosts(stack: Stack, attacker: Stack) -> None:
    assert answer(stack, "SELECT current_user", user="tally") == "tally"
    with attack(stack, "psql from the next host"):
        done = attacker.host.run(
            f"PGCONNECT_TIMEOUT=5 psql --no-password --host {stack.address} "
            "--username tally --dbname tally --command 'SELECT 1' 2>&1"
        )
        assert done.rc == 2, done.stdout  # no connection


# --- From within an application --------------------------------------------------------------


def test_what_runs_inside_is_an_application_that_works(stack: Stack) -> None:
    assert inside(stack, "id", "-un") == (0, "probeable\n")
    # Its own it may read and write, by its own socket it is reached.
    code, said = inside(stack, "sh", "-c", 'cat main.py && date >"$SLIPWAY_SHARED/written"')
    assert code == 0 and "def run" in said
    own = ("curl", "--silent", "--unix-socket", "/srv/probeable/live/app.sock", "http://own/up")
    code, said = inside(stack, *own)
    assert code == 0 and '"release"' in said


def test_another_applications_socket_is_closed(stack: Stack) -> None:
    ask = (
        "curl",
        "--silent",
        "--show-error",
        "--unix-socket",
        "/srv/tally/live/app.sock",
        "http://own/",
    )
    code, said = outside(stack, "tally", *ask)
    assert code == 0 and '"release"' in said
    with attack(stack, "another application's socket"):
        for code, said in (inside(stack, *ask), outside(stack, "probeable", *ask)):
            assert code == 7, said  # couldn't connect


def test_another_applications_database_is_closed(stack: Stack) -> None:
    ask = ("psql", "-XAt", "-U", "tally", "-d", "tally", "-c", "SELECT count(*) FROM entry")
    code, said = outside(stack, "tally", *ask)
    assert code == 0, said
    with attack(stack, "another application's database"):
        for code, said in (inside(stack, *ask), outside(stack, "probeable", *ask)):
            assert code == 2 and "authentication failed" in said, said


@pytest.mark.parametrize(
    "path",
    [
        "/srv/tally/live/release/src/main.py",
        "/srv/tally/live/environment",
        "/srv/tally/releases.jsonl",
        "/srv/tally/shared/lifespans",
        "/proc/{pid}/environ",
    ],
)
def test_another_applications_files_cannot_be_read(stack: Stack, path: str) -> None:
    slot = stack.run("readlink /srv/tally/live").strip().rpartition("/")[2]
    pid = stack.run(f"systemctl show --property MainPID --value tally@{slot}").strip()
    file = path.format(pid=pid)
    assert stack.run(f"cat {file} | wc --bytes").strip() != "0"
    with attack(stack, f"reading {path.format(pid='<pid>')}"):
        for code, said in (inside(stack, "cat", file), outside(stack, "probeable", "cat", file)):
            assert code == 1, said
            assert "Permission denied" in said or "No such file" in said, said


def test_another_applications_secret_is_nowhere_to_be_found(stack: Stack) -> None:
    places = "/srv /etc /run /tmp /var/tmp /var/log /proc/[0-9]*/environ /proc/[0-9]*/cmdline"
    look = f"grep -rlsD skip -e '{TALLYS_SECRET}' {places}"
    assert stack.host.run(look).stdout.strip(), "root must find it, or there is nothing to be found"
    with attack(stack, "looking for another application's secret everywhere"):
        for code, said in (
            inside(stack, "sh", "-c", look, seconds=45),
            outside(stack, "probeable", "sh", "-c", look),
        ):
            assert code in (1, 2) and said == "", said


@pytest.mark.parametrize(
    "command",
    [
        "echo pass >>main.py",
        "rm main.py",
        "touch /srv/probeable/live/release/venv/lib/evil.pth",
        "touch /srv/probeable/slots/evil",
        "mkdir /srv/probeable/releases/evil",
        "ln -sfn slots/evil /srv/probeable/live",
        "rm /srv/probeable/live",
    ],
)
def test_its_own_release_cannot_be_changed(stack: Stack, command: str) -> None:
    source = "/srv/probeable/live/release/src"
    before = stack.run(f"ls -l {source} /srv/probeable; sha256sum {source}/main.py")
    with attack(stack, f"own release: {command}"):
        for code, said in (
            inside(stack, "sh", "-c", command),
            outside(stack, "probeable", "sh", "-c", f"cd {source} && {command}"),
        ):
            assert code != 0, said
            assert "Permission denied" in said or "Read-only file system" in said, said
        assert stack.run(f"ls -l {source} /srv/probeable; sha256sum {source}/main.py") == before


# --- Out of its sandbox ----------------------------------------------------------------------

BAITS = ("/home/bait", "/etc/bait", "/usr/local/bait", "/var/lib/bait", "/tmp/bait", "/opt/bait")


@pytest.fixture
def baits(stack: Stack) -> Iterator[None]:
    """Have folders that everybody on the host may read and write, and a program that makes root of whoever runs it."""
    for bait in BAITS:
        stack.run(f"install --directory --mode 0777 {bait} && echo open >{bait}/open")
        stack.run(f"chmod 0666 {bait}/open")
    stack.run("install --mode 4755 /usr/bin/id /usr/local/bin/bait-id")
    yield
    stack.run(f"rm -r {' '.join(BAITS)} /usr/local/bin/bait-id")


@pytest.mark.usefixtures("baits")
@pytest.mark.parametrize("bait", BAITS)
def test_nothing_is_written_outside_though_the_user_might(stack: Stack, bait: str) -> None:
    # In no sandbox the same user may: so it is the sandbox that stops him.
    write = ("sh", "-c", f"echo was-here >{bait}/open")
    assert outside(stack, "probeable", *write) == (0, "")
    stack.run(f"echo open >{bait}/open")
    with attack(stack, f"out of the sandbox: write to {bait.rpartition('/')[0]}"):
        code, said = inside(stack, *write)
        assert code != 0, said
        assert stack.run(f"cat {bait}/open") == "open\n"


@pytest.mark.usefixtures("baits")
@pytest.mark.parametrize("bait", ["/home/bait", "/tmp/bait"])
def test_others_homes_and_scratch_are_not_seen(stack: Stack, bait: str) -> None:
    read = ("cat", f"{bait}/open")
    assert outside(stack, "probeable", *read) == (0, "open\n")
    with attack(stack, f"out of the sandbox: read {bait.rpartition('/')[0]}"):
        code, said = inside(stack, *read)
        assert code == 1 and "open\n" not in said.splitlines(keepends=True), said


@pytest.mark.usefixtures("baits")
def test_a_program_that_makes_root_of_others_does_not(stack: Stack) -> None:
    code, said = outside(stack, "probeable", "/usr/local/bin/bait-id")
    assert code == 0 and "euid=0(root)" in said
    with attack(stack, "a setuid program"):
        code, said = inside(stack, "/usr/local/bin/bait-id")
        assert "euid" not in said and (code != 0 or "(probeable)" in said), said
