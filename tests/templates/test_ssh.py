"""sshd's drop-in: keys alone, algorithms that nobody has to be ashamed of, and ports that shut nobody out."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from .conftest import Host

DROP_IN = "etc/ssh/sshd_config.d/00-slipway.conf.j2"
SUDOERS = "etc/sudoers.d/slipway.j2"
POST_QUANTUM = {
    "12": {"sntrup761x25519-sha512@openssh.com"},
    "13": {
        "mlkem768x25519-sha256",
        "sntrup761x25519-sha512",
        "sntrup761x25519-sha512@openssh.com",
    },
}


# Without that folder, which its unit makes, it refuses whatever it is given.
needs_sshd = pytest.mark.skipif(
    not (Path("/usr/sbin/sshd").exists() and Path("/run/sshd").exists()),
    reason="this machine has no sshd",
)


def as_ever(text: str) -> str:
    """Return the drop-in without exchanges that came with OpenSSH 9.9, since the sshd of this machine may be older."""
    return re.sub(r"(?m)^(KexAlgorithms) .*(sntrup761\S+@\S+)$", r"\1 \2", text)


def settings(host: Host, **options: Any) -> dict[str, list[str]]:
    """Return each setting for everybody with what it says, once for each time."""
    found: dict[str, list[str]] = {}
    for line in host.render("ssh", DROP_IN, **options).partition("\nMatch ")[0].splitlines():
        if line and not line.startswith("#"):
            key, _, value = line.partition(" ")
            found.setdefault(key, []).append(value)
    return found


def test_a_setting_that_may_be_there_once_is_there_once(host: Host) -> None:
    said = settings(host, ssh_allow_users=["ada", "deploy"], ssh_allow_groups=["ssh"])
    assert {key for key, values in said.items() if len(values) > 1} == {"HostKey"}
    assert said["AllowUsers"] == ["ada deploy"]
    assert said["AllowGroups"] == ["ssh"]


def test_keys_open_and_nothing_else_does(host: Host) -> None:
    said = settings(host)
    for shut in ("PasswordAuthentication", "KbdInteractiveAuthentication", "PermitEmptyPasswords"):
        assert said[shut] == ["no"]
    assert said["PubkeyAuthentication"] == ["yes"]
    assert said["PermitRootLogin"] == ["prohibit-password"]
    assert settings(host, ssh_root_login="none")["PermitRootLogin"] == ["no"]


def test_a_quantum_computer_reads_nothing_unless_older_clients_may_come(host: Host) -> None:
    (exchanges,) = settings(host)["KexAlgorithms"]
    assert set(exchanges.split(",")) == POST_QUANTUM[host.debian]
    (more,) = settings(host, ssh_older_clients=True)["KexAlgorithms"]
    assert more.removeprefix(exchanges) == ",curve25519-sha256,curve25519-sha256@libssh.org"


def test_a_host_key_is_used_if_it_is_there_and_long_enough(host: Host) -> None:
    assert settings(host)["HostKey"] == [
        "/etc/ssh/ssh_host_ed25519_key",
        "/etc/ssh/ssh_host_rsa_key",
    ]
    # None is there yet: the role makes the first.
    said = settings(host, __ssh_look={"stdout": "sshd: there"})
    assert said["HostKey"] == ["/etc/ssh/ssh_host_ed25519_key"]
    assert said["HostKeyAlgorithms"] == ["ssh-ed25519"]


@pytest.mark.parametrize(
    ("port", "used", "ports"),
    [(0, "22", None), (2222, "22", ["2222", "22"]), (2222, "2222", ["2222"])],
)
def test_the_port_in_use_stays_open_until_ansible_comes_by_the_new_one(
    host: Host, port: int, used: str, ports: list[str] | None
) -> None:
    way_in = {"user": "deploy", "client": "198.51.100.7", "port": used}
    assert settings(host, ssh_port=port, slipway_way_in=way_in).get("Port") == ports


@pytest.mark.parametrize(("option", "said"), [("local", "local"), ("all", "yes"), ("none", "no")])
def test_tunnels_go_where_the_option_says(host: Host, option: str, said: str) -> None:
    found = settings(host, ssh_tcp_forwarding=option)
    assert found["AllowTcpForwarding"] == found["AllowStreamLocalForwarding"] == [said]


def test_who_brings_backups_has_a_way_back_and_nobody_else(host: Host) -> None:
    def matched(**variables: Any) -> list[str]:
        return host.render("ssh", DROP_IN, **variables).partition("Match ")[2].split()

    way_back = ["AllowTcpForwarding", "remote", "AllowStreamLocalForwarding", "remote"]
    assert matched(ssh_tcp_forwarding="none") == ["User", "pgbackrest", *way_back]
    assert matched(ssh_repository_users=["keeper", "other"])[:2] == ["User", "keeper,other"]
    assert matched(ssh_repository_users=[]) == []


def test_sudo_is_for_those_who_have_it(host: Host) -> None:
    users = [
        {"name": "ada", "sudo": "without_password"},
        {"name": "bob", "sudo": "with_password"},
        {"name": "carol", "sudo": "none"},
        {"name": "dave"},
        {"name": "gone", "sudo": "without_password", "state": "absent"},
    ]
    text = host.render("ssh", SUDOERS, ssh_users=users)
    assert [line for line in text.splitlines() if line and not line.startswith("#")] == [
        "ada ALL=(ALL:ALL) NOPASSWD: ALL",
        "bob ALL=(ALL:ALL) ALL",
    ]


@needs_sshd
def test_sshd_reads_the_drop_in(host: Host, tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    text = host.render("ssh", DROP_IN, __ssh_look={"stdout": ""})
    path = tmp_path / "sshd_config"
    path.write_text(as_ever(text).replace("/etc/ssh/ssh_host_ed25519_key", str(key)))
    said = subprocess.run(
        ["/usr/sbin/sshd", "-t", "-f", str(path)], capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stderr
    assert said.stderr == ""  # such as: an option that it knows and wasn't built with


def worked_out(host: Host, name: str, **given: Any) -> Any:
    """Return a variable of the role."""
    templar = Templar(DataLoader(), host.variables("ssh") | given)
    return templar.template(trust_as_template(f"{{{{ {name} }}}}"))


@needs_sshd
@pytest.mark.parametrize(
    ("before", "lost"),
    [
        ("", ""),
        ("ListenAddress 127.0.0.1\nAllowUsers deploy\nPrintMotd no", ""),
        ("PasswordAuthentication yes", "passwordauthentication no"),
        ("x11forwarding yes\nMaxAuthTries 9", "maxauthtries 4;x11forwarding no"),
        ("Ciphers +aes128-cbc", "ciphers "),
    ],
)
def test_what_others_say_before_is_noticed_whatever_it_is_about(
    host: Host, tmp_path: Path, before: str, lost: str
) -> None:
    key, drop_in, main = (tmp_path / name for name in ("key", "drop-in.conf", "sshd_config"))
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    text = host.render("ssh", DROP_IN, __ssh_look={"stdout": ""}, ssh_allow_users=["ada"])
    drop_in.write_text(as_ever(text).replace("/etc/ssh/ssh_host_ed25519_key", str(key)))
    main.write_text(f"{before}\nInclude {drop_in}\nPasswordAuthentication yes\n")
    script = worked_out(
        host,
        "__ssh_reload",
        __ssh_drop_in=str(drop_in),
        __ssh_before=str(tmp_path / "before.conf"),
        __ssh_look={"stdout": ""},
    )
    script = script.replace("sshd -t\n", f"sshd -t -f {main}\n").replace(
        "sshd -T >", f"sshd -T -f {main} >"
    )
    # Up to where sshd itself would be told.
    said = subprocess.run(
        ["sh", "-euc", script.partition("systemctl")[0]],
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == bool(lost), said.stderr
    assert (f"What others say counts instead of: {lost}" in said.stderr) == bool(lost), said.stderr


def test_sshd_has_to_listen_on_each_port_that_it_is_told(host: Host) -> None:
    way_in = {"user": "deploy", "client": "198.51.100.7", "port": "22"}
    look = {"stdout": ""}
    given: dict[str, Any] = {"ssh_port": 2222, "slipway_way_in": way_in, "__ssh_look": look}
    assert "for port in 2222 22; do" in worked_out(host, "__ssh_reload", **given)
    off = worked_out(host, "__ssh_reload", ssh_enabled=False, **given)
    assert "for port in ; do" in off and "sshd -T" not in off
    subprocess.run(["sh", "-n"], input=off, text=True, check=True)


def test_the_way_back_and_the_way_there_are_one_line_each_of_the_shell(host: Host) -> None:
    back = worked_out(host, "__ssh_back")
    # It is the argument of sh -c, in single quotes.
    assert "'" not in back and "\n" not in back.strip()


@pytest.mark.skipif(not shutil.which("visudo"), reason="this machine has no sudo")
def test_sudo_reads_its_file(host: Host, tmp_path: Path) -> None:
    path = tmp_path / "slipway"
    users = [{"name": "ada", "sudo": "without_password"}, {"name": "bob", "sudo": "with_password"}]
    path.write_text(host.render("ssh", SUDOERS, ssh_users=users))
    said = subprocess.run(["visudo", "-cf", str(path)], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr


def test_a_connection_that_proves_something_is_none_of_the_kept_ones(host: Host) -> None:
    config = {"__ssh_args": "-o ControlMaster=auto"}
    task = "Refuse arguments of ssh that no task can add to"
    assert not host.refuses("ssh", task, **config)
    # By -e.
    assert host.refuses("ssh", task, ansible_ssh_args="-o ControlPersist=60s", **config)
