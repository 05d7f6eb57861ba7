"""The scripts that playbooks have hosts run, run here beside programs that say what is known."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from .conftest import ROOT, Host, read

SIMULATED = "Inst libssl3 [1] (2 Debian-Security:12/stable-security [amd64])\nConf libssl3 (2)\n"
APP = {"name": "shop", "domains": ["shop.org"], "health": "/readyz?deep=1&x=it's"}


def script(host: Host, name: str, **given: Any) -> str:
    """Return a script of playbooks/vars/upkeep.yml."""
    variables = host.variables("baseline") | read(ROOT / "playbooks/vars/upkeep.yml") | given
    rendered: str = Templar(DataLoader(), variables).template(
        trust_as_template(f"{{{{ {name} }}}}")
    )
    return rendered


def run(folder: Path, text: str, **programs: str) -> list[str]:
    """Run a script with programs of our own first in its path, and return what it says."""
    for name, body in programs.items():
        path = folder / name.replace("_", "-")
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
    environment = {"PATH": f"{folder}:/usr/bin:/bin", "HOME": os.environ.get("HOME", "/")}
    done = subprocess.run(
        ["sh", "-c", text], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("known", [True, False])
def test_what_there_is_to_do_is_asked_without_changing_anything(
    host: Host, tmp_path: Path, known: bool
) -> None:
    asked = tmp_path / "asked"
    apt = f"echo \"$@\" >> {asked}; printf '%s' '{SIMULATED}'"
    programs = {"apt_get": apt, "uname": "echo 0.0-none"}
    if known:
        programs["systemctl"] = "echo Type=notify"
        programs["needrestart"] = (
            "echo 'NEEDRESTART-KSTA: 1'; echo 'NEEDRESTART-SVC: nginx.service'"
        )
    text = script(host, "__upkeep_look ~ __upkeep_restarts")
    said = run(tmp_path, text, **programs)
    assert "--simulate" in asked.read_text()
    assert said[0] == "upgrade libssl3 [1] (2 Debian-Security:12/stable-security [amd64])"
    assert ("restart nginx.service" in said) == known
    assert ("unknown restarts" in said) != known


def test_jobs_end_by_themselves_and_what_refuses_a_restart_is_not_forced(
    host: Host, tmp_path: Path
) -> None:
    units = ("nginx.service", "slipway-backup@shop.service", "auditd.service")
    said = run(
        tmp_path,
        script(host, "__upkeep_restarts"),
        needrestart="; ".join(f"echo 'NEEDRESTART-SVC: {unit}'" for unit in units),
        systemctl='case "$*" in *backup*) echo Type=oneshot; echo RefuseManualStop=no ;;'
        " *auditd*) echo Type=forking; echo RefuseManualStop=yes ;;"
        " *) echo Type=simple; echo RefuseManualStop=no ;; esac",
    )
    assert said == ["restart nginx.service", "refuses auditd.service"]


@pytest.mark.parametrize(
    ("there", "running", "newer"),
    [
        (["6.1.0-9-amd64", "6.1.0-37-amd64"], "6.1.0-9-amd64", "6.1.0-37-amd64"),
        (["6.1.0-9-amd64", "6.1.0-37-amd64"], "6.1.0-37-amd64", ""),
        # Another flavour is another boot loader's choice, or it would ask for a reboot for ever.
        (["6.12.48+deb13-amd64", "6.12.48+deb13-cloud-amd64"], "6.12.48+deb13-amd64", ""),
        (["6.12.48+deb13-amd64", "6.12.50+deb13-cloud-amd64"], "6.12.48+deb13-amd64", ""),
        (["6.12.48+deb13-cloud-amd64"], "6.12.9+deb13-cloud-amd64", "6.12.48+deb13-cloud-amd64"),
        (["6.12.48+deb13-amd64"], "5.4.0-somebody-elses", ""),  # in a container
        ([], "6.1.0-9-amd64", ""),
    ],
)
def test_a_newer_kernel_is_one_of_the_same_flavour(
    host: Host, tmp_path: Path, there: list[str], running: str, newer: str
) -> None:
    boot = tmp_path / "boot"
    boot.mkdir()
    for name in there:
        (boot / f"vmlinuz-{name}").touch()
    text = script(host, "__upkeep_look", __upkeep_boot=str(boot))
    said = run(tmp_path, text, apt_get="true", uname=f"echo {running}")
    kernels = [line for line in said if "linux-image" in line]
    assert kernels == ([f"reboot linux-image-{newer}"] if newer else [])


def test_applications_are_asked_on_their_own_sockets(host: Host, tmp_path: Path) -> None:
    (tmp_path / "srv/shop/live").mkdir(parents=True)
    arguments = tmp_path / "arguments"
    curl = f'for one in "$@"; do echo "$one"; done > {arguments}; printf 204'
    text = script(
        host,
        "__upkeep_answers",
        slipway_apps={"shop": APP, "new": APP | {"name": "new"}},  # which was never released
        fastapi_app_root=str(tmp_path / "srv"),
    )
    systemctl = (
        'case "$*" in "is-enabled --quiet nginx") exit 0 ;; is-*) exit 1 ;;'
        " *--failed*) echo 'sad.service loaded failed failed Sad' ;; esac"
    )
    said = run(tmp_path, text, curl=curl, systemctl=systemctl)
    assert said == ["answer shop 204", "failed nginx.service", "failed sad.service"]
    given = arguments.read_text().splitlines()
    assert f"{tmp_path}/srv/shop/live/app.sock" in given
    assert "http://localhost/readyz?deep=1&x=it's" in given and "Host: shop.org" in given
