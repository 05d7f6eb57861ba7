"""The host itself: units, users, files; nothing runs as root or can be read by those who need not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.stack import Stack, changes, play

APPS = ("board", "notes", "ping")
# systemd's own, the ways in, and the one process of nginx that opens port 443 and the key.
MAY_BE_ROOT = {
    "systemd",
    "systemd-journal",
    "systemd-logind",
    "(sd-pam)",
    "sshd",
    "sshd-session",
    "sshd-auth",
    "nginx",
    "agetty",
    "unattended-upgr",  # waits for a shutdown, lest one cuts an upgrade off
    "sudo",
    "ps",
    "sh",
    "bash",
}


def live(stack: Stack, app: str) -> str:
    """Return the slot that serves."""
    return stack.run(f"readlink /srv/{app}/live").strip().removeprefix("slots/")


@pytest.mark.parametrize("app", APPS)
def test_the_live_slot_runs_and_starts_at_boot_and_the_other_does_neither(
    stack: Stack, app: str
) -> None:
    slot = live(stack, app)
    other = {"blue": "green", "green": "blue"}[slot]
    service, idle = stack.host.service(f"{app}@{slot}"), stack.host.service(f"{app}@{other}")
    assert service.is_running and service.is_enabled, stack.journal(f"{app}@{slot}")
    assert not idle.is_running
    # It may have no unit yet.
    assert not stack.host.file(
        f"/etc/systemd/system/multi-user.target.wants/{idle.name}.service"
    ).exists


@pytest.mark.parametrize("unit", ["nginx", "postgresql"])
def test_the_servers_run_and_start_at_boot(stack: Stack, unit: str) -> None:
    service = stack.host.service(unit)
    assert service.is_running and service.is_enabled


def test_systemd_has_no_complaint(stack: Stack) -> None:
    assert stack.host.run("systemctl is-system-running").stdout.strip() == "running", stack.run(
        "systemctl --failed --no-legend"
    )


def test_no_process_is_root_that_need_not_be(stack: Stack) -> None:
    processes = [
        line.split(None, 2)
        for line in stack.run("ps -eo user:32,comm:32,args --no-headers").splitlines()
    ]
    root = {command for user, command, _ in processes if user == "root"}
    assert root <= MAY_BE_ROOT
    assert [
        user
        for user, command, arguments in processes
        if command == "nginx" and "master" in arguments
    ] == ["root"]
    assert {
        user
        for user, command, arguments in processes
        if command == "nginx" and "worker" in arguments
    } == {"www-data"}
    for app in APPS:
        assert {user for user, _, arguments in processes if f"/srv/{app}/" in arguments} == {app}
    assert {user for user, command, _ in processes if command == "postgres"} == {"postgres"}


@pytest.mark.parametrize("app", APPS)
def test_an_application_cannot_change_its_own_code(stack: Stack, app: str) -> None:
    for path in (
        "live/release/src",
        "live/release/venv",
        "live/release/release.json",
        "slots",
        "live",
    ):
        assert stack.host.run(f"runuser -u {app} -- test -w /srv/{app}/{path}").rc == 1, path
    assert stack.host.run(f"runuser -u {app} -- test -w /srv/{app}/shared").rc == 0


def test_an_application_cannot_read_another_or_its_own_settings_file(stack: Stack) -> None:
    assert stack.host.run("runuser -u notes -- ls /srv/board").rc != 0
    assert stack.host.run("runuser -u notes -- test -e /run/board/blue.sock").rc != 0
    assert stack.host.run("runuser -u board -- cat /srv/board/live/environment").rc != 0


@pytest.mark.parametrize(
    ("path", "owner", "group", "mode"),
    [
        ("/srv/board", "root", "board", 0o750),
        ("/srv/board/releases", "root", "board", 0o750),
        ("/srv/board/live/environment", "root", "root", 0o600),
        ("/srv/board/live/release/venv/bin/gunicorn", "root", "board", 0o750),
        ("/run/board", "board", "board", 0o750),
        ("/etc/systemd/system/board@blue.service", "root", "root", 0o644),
        ("/etc/slipway/tls/board/privkey.pem", "root", "root", 0o600),
        ("/etc/slipway/ca/ca.key", "root", "root", 0o600),
    ],
)
def test_files_have_the_right_owners(
    stack: Stack, path: str, owner: str, group: str, mode: int
) -> None:
    file = stack.host.file(path)
    assert (file.user, file.group, oct(file.mode)) == (owner, group, oct(mode))


@pytest.mark.parametrize("app", APPS)
def test_the_socket_is_for_the_application_and_nginx_alone(stack: Stack, app: str) -> None:
    owner, group, mode = stack.run(f"stat -L -c '%U %G %a' /srv/{app}/live/app.sock").split()
    assert (owner, group, mode) == (app, app, "770")
    assert "www-data" in stack.run(f"getent group {app}")
    assert (
        stack.host.run(
            f"runuser -u nobody -- curl --unix-socket /srv/{app}/live/app.sock http://x/"
        ).rc
        != 0
    )


@pytest.mark.parametrize("name", ["ODD", "ODD_SECRET"])
def test_settings_arrive_to_the_letter(stack: Stack, name: str) -> None:
    odd = """it's 50 % "off" at $HOME, `id` \\ and\n  a second line # with no comment"""
    assert stack.get(f"https://notes.test/settings/{name}").json() == odd


def test_each_kind_of_source_serves(stack: Stack) -> None:
    assert stack.get("https://ping.test/").json() == "pong"
    release = json.loads(stack.run("cat /srv/notes/live/release/release.json"))
    assert stack.get("https://notes.test/up").json() == {"release": release["id"]}
    assert release["version"] != release["id"]  # the commit, for a git source


def test_the_host_needs_no_git_and_no_compiler(stack: Stack) -> None:
    for command in ("git", "gcc", "cc", "pip", "pip3"):
        assert not stack.host.exists(command), command


@pytest.mark.parametrize("user", ["deploy", "root"])
def test_a_dry_run_on_a_converged_host_foresees_no_change(inventory: Path, user: str) -> None:
    run = play("site.yml", inventory, "--check", "--diff", "-e", f"ansible_user={user}")
    assert run.returncode == 0, run.stdout[-3000:]
    assert set(changes(run).values()) == {0}, run.stdout


def test_no_secret_is_in_what_a_run_says(inventory: Path, tmp_path: Path) -> None:
    # A new secret makes the run write it, or here foresee that, with all that Ansible can say of it.
    (tmp_path / "secret.json").write_text(
        '{"fastapi_app_board_token": "another-one-for-this-test-98765"}'
    )
    run = play("site.yml", inventory, "--check", "--diff", "-vvv", "-e", f"@{tmp_path}/secret.json")
    assert run.returncode == 0, run.stdout[-3000:]
    assert min(changes(run).values()) > 0
    for secret in ("another-one-for-this-test", "only-for-this-test"):
        assert secret not in run.stdout + run.stderr
