"""Secrets: in files of root's alone and nowhere else, whatever is run and however much it says; rotated under load."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.stack import Stack, changes, play, said

URL = "https://keeper.test"
# As the inventory has them; the first is what a test changes, by the environment of the run.
TOKEN, NEXT = "kept-from-everybody-0123456789", "kept-from-them-too-9876543210"
PASSWORD = "keeper-and-its-database-alone-5"
TALLYS = "nobody-else-may-read-this-0123456789"
PLACES = "/etc /home /opt /root /run /srv /tmp /usr/local /var"
LOUD = ("-vvv", "--diff")


def bracketed(secret: str) -> str:
    """Return a regular expression for a secret in which it doesn't stand: sudo notes each command in the journal."""
    return f"{re.escape(secret[:-1])}[{secret[-1]}]"


def made_up(stack: Stack, app: str = "keeper") -> dict[str, str]:
    """Return what a host has made up for an application."""
    found: dict[str, str] = json.loads(stack.run(f"cat /etc/slipway/secrets/{app}.json"))
    return found


def everything(stack: Stack) -> list[str]:
    """Return all secrets that a host has been told or has made up."""
    # With grep each has a line: none ends with one.
    passwords = stack.run("grep --no-filename '' /srv/keeper/slots/*/secrets/*").splitlines()
    return [TOKEN, NEXT, PASSWORD, TALLYS, *made_up(stack).values(), *passwords]


def leaked(text: str, secrets: list[str]) -> list[str]:
    """Return the secrets that stand in a text, each by its beginning, which a failing test may show."""
    return [f"{secret[:6]}…" for secret in secrets if len(secret) > 8 and secret in text]


def digest(text: str) -> str:
    """Return what the application tells of a secret."""
    return hashlib.sha256(text.encode()).hexdigest()


def known(stack: Stack) -> dict[str, Any]:
    """Return what the application knows, and how."""
    answer = stack.get(f"{URL}/secrets")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def files_with(stack: Stack, secrets: list[str], more: str = "") -> list[str]:
    """Return the files of a host in which one of some secrets stands."""
    patterns = " ".join(f"-e '{bracketed(secret)}'" for secret in secrets if len(secret) > 8)
    find = f"find {PLACES} -xdev -type f -size -20M {more}"
    output: str = stack.host.run(f"{find} -exec grep -l {patterns} {{}} + 2>/dev/null").stdout
    return output.split()


# --- Where they are --------------------------------------------------------------------------


def test_the_application_has_them_as_files_and_not_in_its_environment(stack: Stack) -> None:
    found = known(stack)
    assert found["environment"] == []
    assert found["files"].keys() == {"TOKEN", "SEAL", "KEEPER_DATABASE_URL"}
    assert found["files"]["TOKEN"] in (digest(TOKEN), digest(NEXT))
    assert found["files"]["SEAL"] == digest(made_up(stack)["SEAL"])


def test_another_has_them_in_its_environment(stack: Stack) -> None:
    slot = stack.run("readlink /srv/tally/live").strip().rpartition("/")[2]
    main = stack.run(f"systemctl show --value --property=MainPID tally@{slot}").strip()
    assert f"TALLY_KEY={TALLYS}" in stack.run(f"cat /proc/{main}/environ | tr '\\0' '\\n'")


def test_every_file_with_one_is_roots_alone(stack: Stack) -> None:
    there = files_with(stack, everything(stack))
    # What PostgreSQL and systemd have for themselves are no texts of them, but for what a unit is handed.
    wanted = {"/srv/keeper/slots", "/srv/tally/slots", "/etc/slipway/secrets/keeper.json"}
    assert {place for place in wanted if any(path.startswith(place) for path in there)} == wanted
    for path in there:
        rights = stack.run(f"stat --format '%U %a' {path}").split()
        assert rights == ["root", "600"] or path.startswith("/run/credentials/"), (path, rights)


def test_no_file_that_anybody_may_read_has_one(stack: Stack) -> None:
    assert files_with(stack, everything(stack), "-perm -o=r") == []
    # It would be found.
    stack.run(f"printf %s-%s {TOKEN[:7]} {TOKEN[8:]} >/var/tmp/found; chmod 0644 /var/tmp/found")
    assert files_with(stack, [f"{TOKEN[:7]}-{TOKEN[8:]}"], "-perm -o=r") == ["/var/tmp/found"]
    stack.run("rm /var/tmp/found")


@pytest.mark.parametrize("user", ["keeper", "keeper_migrator", "tally", "www-data", "postgres"])
def test_no_user_reads_what_is_kept(stack: Stack, user: str) -> None:
    slot = stack.run("readlink --canonicalize /srv/keeper/live").strip()
    for path in ("/etc/slipway/secrets/keeper.json", f"{slot}/secrets/TOKEN", f"{slot}/generated"):
        stack.run(f"test -s {path}")
        assert stack.host.run(f"runuser -u {user} -- cat {path}").rc != 0, path


def test_files_that_would_not_arrive_are_refused_before_anything_is_touched(
    stacks: list[Stack], inventory: Path
) -> None:
    stack = stacks[0]
    stack.run("mount --make-private /run")
    try:
        run = play("site.yml", inventory, f"--limit={stack.name}")
    finally:
        stack.run("mount --make-rshared /run")
    assert run.returncode != 0
    assert f"{stack.name}: apps.keeper.secrets_as is files, and /run is private" in said(run)
    assert changes(run)[stack.name] == 0


# --- Whatever is run -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def loud(stacks: list[Stack], inventory: Path) -> str:
    """Return all that runs say, as loud as they can be: a dry one, one with another secret, two that change nothing."""
    if any(known(stack)["files"]["TOKEN"] == digest(NEXT) for stack in stacks):
        # Another module's tests were in between, and this is asked for again.
        first = play("playbooks/deploy.yml", inventory)
        assert first.returncode == 0, first.stdout[-4000:]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KEEPER_TOKEN", NEXT)
        runs = [
            play("site.yml", inventory, *LOUD, "--check"),
            play("site.yml", inventory, *LOUD),
            play("playbooks/deploy.yml", inventory, *LOUD),
            play("playbooks/status.yml", inventory, *LOUD),
        ]
    for run in runs:
        assert run.returncode == 0, run.stdout[-4000:]
    for stack in stacks:
        assert known(stack)["files"]["TOKEN"] == digest(NEXT)
    return "".join(run.stdout for run in runs)


def test_no_run_says_one(stacks: list[Stack], loud: str) -> None:
    # It did say what it has changed, and what it was given, but for the secrets.
    assert "LoadCredential=TOKEN:" in loud
    assert loud.count("VALUE_SPECIFIED_IN_NO_LOG_PARAMETER") > 1
    for stack in stacks:
        assert leaked(loud, everything(stack)) == []


@pytest.mark.usefixtures("loud")
def test_a_run_that_fails_says_none_either(stacks: list[Stack], inventory: Path) -> None:
    # With the first token again, which is another release; it compares the settings of the two.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KEEPER_HEALTH", "/nowhere")
        run = play("playbooks/deploy.yml", inventory, *LOUD, "-e", "fastapi_app_health_timeout=5")
    assert run.returncode != 0 and "/nowhere" in run.stdout
    assert "settings: TOKEN" in run.stdout
    for stack in stacks:
        assert leaked(run.stdout, everything(stack)) == []


@pytest.mark.usefixtures("loud")
def test_the_journal_has_none(stack: Stack) -> None:
    stack.run("logger --tag keeper 'a line that is there'")
    lines = stack.run("journalctl --no-pager --output=verbose --boot")
    assert "a line that is there" in lines
    assert leaked(lines, everything(stack)) == []


@pytest.mark.usefixtures("loud")
def test_no_process_was_given_one_by_its_arguments(stack: Stack) -> None:
    lines = stack.run("cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '; true")
    assert "gunicorn" in lines
    assert leaked(lines, everything(stack)) == []


def test_systemd_tells_nobody(stack: Stack) -> None:
    # Anybody may ask it for the properties of a unit, those of a transient one too.
    lines = stack.run("runuser -u nobody -- systemctl show 'keeper*' 'tally*' --all")
    assert "ExecStart" in lines
    assert leaked(lines, everything(stack)) == []


# --- Others in their place -------------------------------------------------------------------


def test_a_secret_of_the_hosts_making_is_made_anew_and_no_request_lost(
    stacks: list[Stack], inventory: Path
) -> None:
    before = {stack.name: made_up(stack)["SEAL"] for stack in stacks}
    run = play("playbooks/rotate.yml", inventory, *LOUD, "-e", "app=keeper", "-e", "secret=SEAL")
    assert run.returncode == 0, run.stdout[-4000:]
    assert re.search(r"\b0 of [1-9][0-9]* requests failed", said(run)), run.stdout[-2000:]
    for stack in stacks:
        now = made_up(stack)["SEAL"]
        assert now != before[stack.name]
        assert known(stack)["files"]["SEAL"] == digest(now)
        assert leaked(run.stdout, [now, before[stack.name]]) == []
        # What is replaced is nowhere any more, so that no way back leads to it.
        assert files_with(stack, [before[stack.name]]) == []


def test_a_way_back_does_not_bring_the_old_one_back(stacks: list[Stack], inventory: Path) -> None:
    seals = {stack.name: made_up(stack)["SEAL"] for stack in stacks}
    run = play("playbooks/rollback.yml", inventory, "-e", "app=keeper")
    assert run.returncode == 0, run.stdout[-4000:]
    for stack in stacks:
        assert known(stack)["files"]["SEAL"] == digest(seals[stack.name])


def test_a_second_run_makes_none_up_anew(stacks: list[Stack], inventory: Path) -> None:
    play("playbooks/deploy.yml", inventory)  # with the inventory's token again
    before = {stack.name: made_up(stack) for stack in stacks}
    run = play("playbooks/deploy.yml", inventory)
    assert run.returncode == 0
    assert {stack.name: made_up(stack) for stack in stacks} == before
    assert not re.search(r"changed=[1-9]", run.stdout.split("PLAY RECAP")[1])


def test_one_that_there_is_not_is_refused(inventory: Path) -> None:
    run = play("playbooks/rotate.yml", inventory, "-e", "app=keeper", "-e", "secret=SEAL,SALE")
    assert run.returncode != 0
    assert "some of its secrets: TOKEN, SEAL" in said(run)
