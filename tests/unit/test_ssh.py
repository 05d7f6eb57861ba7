"""What would shut Ansible out, or be without effect, is known before sshd is touched."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from .conftest import load

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDYc ada@desk"
SOUND = "sshd: there\r\ndrop-ins: read\r\nhost key: ed25519\r\n"
DROP_IN = "/etc/ssh/sshd_config.d/00-slipway.conf"


@pytest.fixture(scope="module")
def ssh() -> ModuleType:
    """Return the filters."""
    return load("plugins/filter/ssh.py")


@pytest.mark.parametrize(
    ("user", "wrong"),
    [
        ({"name": "Ada"}, "ssh_users[0].name: Ada is no name"),
        ({"name": "ada; reboot"}, "ssh_users[0].name: ada; reboot is no name"),
        ({"name": "root"}, "ssh_users[0].name: root is there anyway"),
        ({"name": "ada", "public_keys": ["ada.pub"]}, "ssh_users[0].public_keys: 'ada.pub' is no"),
        (
            {"name": "ada", "public_keys": [f'command="sh" {KEY}']},
            "ssh_users[0].public_keys: 'command=",
        ),
        (
            {"name": "ada", "public_keys": [f"{KEY}\n{KEY}"]},
            "ssh_users[0].public_keys: 'ssh-ed25519",
        ),
    ],
)
def test_a_user_that_can_not_be_is_named(ssh: ModuleType, user: dict[str, Any], wrong: str) -> None:
    (found,) = ssh.user_errors([user])
    assert found.startswith(wrong)


def test_a_user_is_there_once_and_with_any_number_of_keys(ssh: ModuleType) -> None:
    users = [{"name": "ada", "public_keys": [KEY, KEY.rpartition(" ")[0]]}, {"name": "bob"}]
    assert ssh.user_errors(users) == []
    (found,) = ssh.user_errors([*users, {"name": "ada"}])
    assert found.startswith("ssh_users[2].name: ada is there twice")


@pytest.mark.parametrize(
    ("user", "more", "wrong"),
    [
        ("root", {"root_login": "none"}, "ssh_root_login is none"),
        ("deploy", {"allowed": ["ada", "bob@10.0.0.1"]}, "ssh_allow_users has ada, bob alone"),
        (
            "deploy",
            {"users": [{"name": "deploy", "state": "absent"}]},
            "ssh_users has it as absent",
        ),
        ("deploy", {"users": [{"name": "deploy", "only_these_keys": True}]}, "only_these_keys"),
    ],
)
def test_what_would_shut_ansible_out_is_refused(
    ssh: ModuleType, user: str, more: dict[str, Any], wrong: str
) -> None:
    sound: dict[str, Any] = {"users": [], "allowed": [], "root_login": "key"}
    (found,) = ssh.shut_out(user, **sound | more)
    assert found.startswith(wrong)
    assert ssh.shut_out("carol", **sound | {"users": more.get("users", [])}) == []


@pytest.mark.parametrize("allowed", [["deploy"], ["ada", "deploy@10.0.0.0/8"], ["dep*"], ["*"]])
def test_who_is_allowed_is_not_shut_out(ssh: ModuleType, allowed: list[str]) -> None:
    assert ssh.shut_out("deploy", [], allowed, "none") == []


OURS = "sudo: ours, of 1\r\n"


@pytest.mark.parametrize(
    ("look", "users", "wrong"),
    [
        (OURS, [], "it becomes root by ssh_users alone"),
        (OURS, [{"name": "deploy"}], "it becomes root by ssh_users alone"),
        (OURS, [{"name": "deploy", "sudo": "none"}], "it becomes root by ssh_users alone"),
        (OURS, [{"name": "deploy", "sudo": "without_password"}], ""),
        # It asks for a password already: whoever runs this gives one.
        (OURS, [{"name": "deploy", "sudo": "with_password"}], ""),
        ("sudo: ours, of 2\r\n", [], ""),
        ("", [], ""),
        ("sudo: no password\r\n", [{"name": "deploy", "sudo": "with_password"}], "sudo asks it"),
    ],
)
def test_whoever_runs_this_goes_on_becoming_root(
    ssh: ModuleType, look: str, users: list[dict[str, Any]], wrong: str
) -> None:
    found = ssh.shut_out("deploy", users, [], "key", f"{SOUND}{look}")
    assert [one[: len(wrong)] for one in found] == ([wrong] if wrong else [])
    assert ssh.shut_out("root", [], [], "key", SOUND) == []


MOVED = f"{SOUND}opened: 2222\r\n"


@pytest.mark.parametrize(
    ("look", "port", "used", "first"),
    [
        (MOVED, 0, 2222, "22"),
        (f"{MOVED}listens: /etc/ssh/sshd_config:Port 2200\r\n", 0, 2222, "2200"),
        (f"{MOVED}listens: /etc/ssh/sshd_config:Port 2222\r\n", 0, 2222, ""),
        (f"{MOVED}listens: /etc/ssh/sshd_config:  port=2222\r\n", 0, 2222, ""),
        (f"{MOVED}listens: /etc/ssh/sshd_config:ListenAddress [::]:2222\r\n", 0, 2222, ""),
        (f"{MOVED}opened: 22\r\n", 0, 22, ""),
        (MOVED, 2222, 2222, ""),
        (MOVED, 22, 2222, ""),
        (SOUND, 0, 2222, ""),
    ],
)
def test_the_port_in_use_is_not_closed_by_saying_nothing_of_it(
    ssh: ModuleType, look: str, port: int, used: int, first: str
) -> None:
    found = ssh.port_errors(look, port, used, DROP_IN)
    assert [f"set ssh_port to {first} and run, then" in one for one in found] == [True] * bool(
        first
    )


def test_users_of_packages_and_applications_are_not_removed(ssh: ModuleType) -> None:
    look = f"{SOUND}number of postgres: 101\r\nnumber of ada: 1000\r\n"
    (found,) = ssh.not_people(look, ["ada", "postgres", "gone"])
    assert found.startswith("ssh_users has postgres as absent, and on this host")


@pytest.mark.parametrize(
    ("look", "port", "wrong"),
    [
        ("", 0, ["it has no /etc/ssh/sshd_config"]),
        ("sshd: there\n", 0, ['its /etc/ssh/sshd_config has no "Include']),
        (
            f"{SOUND}earlier: /etc/ssh/sshd_config.d/00-a.conf:PasswordAuthentication yes\n",
            0,
            ["/etc/ssh/sshd_config.d/00-a.conf:PasswordAuthentication yes is read before"],
        ),
        (
            f"{SOUND}listens: /etc/ssh/sshd_config:Port 2200\r\n",
            2222,
            ["ssh_port is 2222, and there is /etc/ssh/sshd_config:Port 2200: remove"],
        ),
        (f"{SOUND}listens: /etc/ssh/sshd_config:Port 2200\r\n", 0, []),
        (f"{SOUND}socket: active\r\n", 2222, ["ssh_port is 2222, and systemd holds the port"]),
        (f"{SOUND}socket: active\r\n", 0, []),
        (SOUND, 2222, []),
    ],
)
def test_an_sshd_that_would_not_do_as_it_is_told_is_refused(
    ssh: ModuleType, look: str, port: int, wrong: list[str]
) -> None:
    found = ssh.sshd_errors(look, port, DROP_IN)
    assert len(found) == len(wrong)
    assert all(one.startswith(begin) for one, begin in zip(found, wrong, strict=True))
