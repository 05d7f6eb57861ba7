"""Throw-away machines: how they are reached, what is theirs, and what they are given. Nothing is started here."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import host_common
import pytest
from tests.stack import eventually

from .conftest import load

Made = Callable[..., Path]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the program, with its state in a folder of the test's."""
    loaded = load("tests/hosts/machine")
    for module in (loaded, host_common):
        for name, place in {
            "MACHINES": "machines",
            "SSH_CONFIG": "ssh/config",
            "SSH_MACHINES": "ssh/machines",
            "KNOWN_HOSTS": "ssh/known_hosts",
            "SSH_KEY": "ssh/id_ed25519",
        }.items():
            if hasattr(module, name):
                monkeypatch.setattr(module, name, tmp_path / place)
    return loaded


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """Return what makes the record of a machine."""

    def make(name: str, port: int = 2201, publish: str = "") -> Path:
        folder = tmp_path / "machines" / name
        folder.mkdir(parents=True)
        (folder / "machine.json").write_text(
            f'{{"port": {port}, "publish": [{publish}], "memory": 1024, "cores": 2}}'
        )
        return folder

    return make


def test_its_ports_lead_to_it_from_loopback_alone(machine: ModuleType, made: Made) -> None:
    folder = made("m1", publish='"127.0.0.1:9443:443"')
    command = machine.qemu("m1")
    assert "user,id=net0,hostfwd=tcp:127.0.0.1:2201-:22,hostfwd=tcp:127.0.0.1:9443-:443" in command
    assert f"file={folder}/disk.img,if=virtio,format=raw,cache=unsafe" in command


def test_ssh_finds_it_beside_other_hosts(machine: ModuleType, made: Made) -> None:
    made("m1")
    made("m2", port=2202)
    host_common.write_ssh_config(["Host web1 10.0.0.1\n    HostName 10.0.0.1\n"])
    machine.update_ssh_config()

    def asked(name: str) -> set[str]:
        command = ["ssh", "-G", "-F", str(machine.SSH_CONFIG), name]
        return set(subprocess.run(command, capture_output=True, text=True).stdout.splitlines())

    assert {"hostname 127.0.0.1", "port 2202", "hostkeyalias m2", "user deploy"} <= asked("m2")
    assert {"hostname 10.0.0.1", "port 22", "user deploy"} <= asked("web1")


def test_where_there_were_never_any_hosts_ssh_finds_it_too(machine: ModuleType, made: Made) -> None:
    made("m1")
    machine.update_ssh_config()
    assert "Host *" in machine.SSH_CONFIG.read_text()


def test_a_process_that_has_its_number_is_not_taken_for_it(machine: ModuleType, made: Made) -> None:
    folder = made("m1")
    assert machine.pid("m1") is None
    (folder / "pid").write_text(str(os.getpid()))
    assert machine.pid("m1") is None
    waiting = [sys.executable, "-c", "input()", f"file={folder}/disk.img,if=virtio"]
    with subprocess.Popen(waiting, stdin=subprocess.PIPE) as process:
        (folder / "pid").write_text(str(process.pid))
        # Its command line is there a moment after it is.
        assert eventually(lambda: machine.pid("m1")) == process.pid
        process.communicate(b"\n")
    assert machine.pid("m1") is None


def test_one_that_is_not_there_is_said_so(machine: ModuleType) -> None:
    with pytest.raises(host_common.HostError, match="there is no machine named m9; make it:"):
        machine.reboot("m9")


def test_what_it_is_given_is_for_whom_it_is(
    machine: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    host_common.SSH_KEY.parent.mkdir()
    host_common.SSH_KEY.with_suffix(".pub").write_text("ssh-ed25519 AAAA slipway\n")
    monkeypatch.setattr(host_common, "own_authorities", lambda: ["PEM\n"])
    monkeypatch.setattr(host_common, "apt_proxy", lambda: "")
    given = host_common.first_boot_files({"etc/ssh/ssh_host_ed25519_key": "secret\n"})
    assert len(given) % 512 == 0  # it is a disk, too
    with tarfile.open(fileobj=io.BytesIO(given)) as tar:
        members = {entry.name: (entry.uid, entry.mode) for entry in tar}
    assert members["etc/ssh/ssh_host_ed25519_key"] == (0, 0o600)
    assert members["home/deploy/.ssh/authorized_keys"] == (1000, 0o600)
    assert members["usr/local/share/ca-certificates/control-node-0.crt"] == (0, 0o644)
