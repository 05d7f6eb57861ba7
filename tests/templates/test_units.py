"""How much of the host is exposed to each unit that is no application's, as systemd itself reckons."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from .conftest import Host

pytestmark = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="this machine has no systemd"
)

FOLDER = "etc/systemd/system"
# What of Debian's own units counts here.
DEBIANS = {
    "nginx": "[Unit]\nDescription=x\n[Service]\nType=forking\nPIDFile=/run/nginx.pid\nKillMode=mixed\n",
    "postgresql": "[Unit]\nDescription=x\n[Service]\nType=forking\nExecStart=/bin/true\n",
}
UNITS = {
    "nginx": ("nginx", f"{FOLDER}/nginx.service.d/slipway.conf.j2", "nginx_sandbox", 3.5),
    "postgresql": (
        "postgresql",
        f"{FOLDER}/postgresql@.service.d/slipway.conf.j2",
        "postgresql_sandbox",
        3.5,
    ),
    "acme": (
        "certificates",
        f"{FOLDER}/slipway-acme.service.j2",
        "certificates_acme_sandbox",
        2.7,
    ),
    "backup": ("backup", f"{FOLDER}/slipway-backup.service.j2", "", 1.5),
    "drill": ("backup", f"{FOLDER}/slipway-drill.service.j2", "", 1.5),
}


def analyzed(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Return what systemd-analyze says."""
    command = ("systemd-analyze", *arguments)
    return subprocess.run(command, capture_output=True, text=True, check=False)


def written(host: Host, name: str, folder: Path, **options: bool) -> Path:
    """Write a unit, Debian's with our drop-in as one text, and return its path."""
    role, template, _, _ = UNITS[name]
    path = folder / f"{name}.service"
    path.write_text(DEBIANS.get(role, "") + host.render(role, template, **options))
    return path


def exposure(unit: Path) -> float:
    """Return what systemd makes of a unit: 0 is nothing, 10 all that there is."""
    said = analyzed("security", "--offline=true", "--no-pager", unit)
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", said.stdout)
    assert found, said.stderr
    return float(found[1])


@pytest.mark.parametrize("name", UNITS)
def test_it_may_do_little_besides_its_work(host: Host, tmp_path: Path, name: str) -> None:
    assert exposure(written(host, name, tmp_path)) <= UNITS[name][3]


@pytest.mark.parametrize("name", [name for name, unit in UNITS.items() if unit[2]])
def test_an_option_leaves_it_as_debian_has_it(host: Host, tmp_path: Path, name: str) -> None:
    option = UNITS[name][2]
    assert exposure(written(host, name, tmp_path, **{option: False})) > 9


@pytest.mark.parametrize("name", UNITS)
def test_systemd_understands_each_line(host: Host, tmp_path: Path, name: str) -> None:
    unit = written(host, name, tmp_path)
    said = analyzed("verify", unit).stderr
    complaints = [line for line in said.splitlines() if re.search(rf"{name}\.service:\d+:", line)]
    assert complaints == []


def test_what_makes_nginxs_main_file_may_write_where_nginx_may_not(host: Host) -> None:
    role, template, _, _ = UNITS["nginx"]
    drop_in = host.render(role, template)
    assert "ProtectSystem=full" in drop_in
    made = re.findall(r"(?m)^Exec(?:StartPre|Reload)=(.*nginx-main)$", drop_in)
    assert len(made) == 2 and all(command.startswith("+") for command in made)


@pytest.mark.parametrize("name", ["backup", "drill"])
def test_a_backup_leaves_the_live_servers_memory_alone(
    host: Host, tmp_path: Path, name: str
) -> None:
    # It runs as the same user, whose unit systemd doesn't count: it would take the segments for left behind.
    assert "\nRemoveIPC=" not in written(host, name, tmp_path).read_text()
