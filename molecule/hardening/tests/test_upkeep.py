"""Upgrades come when they should, restart what they should, and stop where something isn't well."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.sql import answer
from tests.stack import Stack, changes, eventually, play, said
from tests.upgrades import REPOSITORY, WITHDRAWN, at_upgrade, installed, security_upgrade

# A service whose program is no more, as that of one whose package was upgraded.
OUTDATED = r"""
set -eu
cp /usr/bin/sleep /usr/local/bin/held && cp /usr/bin/sleep /usr/local/bin/held.new
printf '[Service]\nType=exec\nExecStart=/usr/local/bin/held infinity\n' > /run/systemd/system/held.service
systemctl daemon-reload && systemctl start held
mv /usr/local/bin/held.new /usr/local/bin/held
"""
NOT_OUTDATED = """
systemctl stop held; rm -f /run/systemd/system/held.service /usr/local/bin/held*; systemctl daemon-reload
"""


def process(stack: Stack, unit: str) -> str:
    """Return the main process of a unit."""
    return stack.run(f"systemctl show --property MainPID --value {unit}").strip()


def started(stack: Stack) -> str:
    """Return when PostgreSQL has started."""
    return answer(stack, "SELECT pg_postmaster_start_time()")


@pytest.fixture
def pending(stacks: list[Stack]) -> Iterator[None]:
    """Have a security upgrade come out, on every host."""
    with security_upgrade(*stacks):
        yield


@pytest.fixture
def outdated(stack: Stack) -> Iterator[str]:
    """Have a service run what is no more, and return its process."""
    stack.run(OUTDATED)
    yield process(stack, "held")
    stack.host.run(NOT_OUTDATED)


# --- Upgrades -----------------------------------------------------------------------------------


def test_each_day_security_upgrades_come_and_nothing_else(stack: Stack) -> None:
    told = stack.host.run("unattended-upgrade --dry-run --debug")
    text = told.stdout + told.stderr
    codename = stack.run(". /etc/os-release; echo $VERSION_CODENAME").strip()
    (origins,) = re.findall(r"(?m)^Allowed origins are: (.*)$", text)
    assert sorted(origins.split(", ")) == [
        f"origin=Debian,codename={codename},label=Debian-Security",
        f"origin=Debian,codename={codename}-security,label=Debian-Security",
    ]
    # By role postgresql, which ours must not undo.
    assert "^postgresql-[0-9]+$" in text
    assert (
        stack.host.run("systemctl is-enabled apt-daily-upgrade.timer").stdout.strip() == "enabled"
    )


@pytest.mark.usefixtures("pending")
def test_what_waits_is_told_foreseen_installed_and_then_there(
    stack: Stack, inventory: Path
) -> None:
    only = f"--limit={stack.name}"
    status = play("playbooks/status.yml", inventory, only)
    assert re.search(r"security upgrades wait: harmless\b", said(status)), status.stdout[-3000:]

    checked = play("playbooks/patch.yml", inventory, only, "--check")
    assert checked.returncode == 0, checked.stdout[-4000:]
    assert re.search(r"upgraded would be: harmless 2\.0", said(checked))
    assert installed(stack) == "1.0"

    before = started(stack)
    run = play("playbooks/patch.yml", inventory, only, "-e", "reboot=never")
    assert run.returncode == 0, run.stdout[-4000:]
    assert re.search(r"upgraded were: harmless 2\.0", said(run))
    assert installed(stack) == "2.0"
    assert started(stack) == before
    assert stack.get("https://tally.test/readyz").status_code == 200

    again = play("playbooks/patch.yml", inventory, only, "-e", "reboot=never")
    assert again.returncode == 0 and changes(again)[stack.name] == 0, again.stdout[-4000:]


@pytest.mark.usefixtures("pending")
def test_a_host_that_an_upgrade_breaks_is_the_last_one(
    stacks: list[Stack], inventory: Path
) -> None:
    first, second = stacks
    slot = first.run("readlink /srv/tally/live").strip().rpartition("/")[2]
    at_upgrade(first, f"systemctl stop tally@{slot}")
    try:
        run = play("playbooks/patch.yml", inventory, "-e", "reboot=never")
    finally:
        first.run(f"systemctl start tally@{slot}")
    assert run.returncode != 0
    assert f"{first.name}: tally answers" in said(run) and "where it has answered 200" in said(run)
    assert "No further host was begun." in said(run)
    assert (installed(first), installed(second)) == ("2.0", "1.0")


def test_what_runs_an_old_program_is_restarted_by_the_playbook_alone(
    stack: Stack, inventory: Path, outdated: str
) -> None:
    before = started(stack)
    # As apt's hook calls it after each upgrade.
    stack.run("DEBIAN_FRONTEND=noninteractive needrestart </dev/null")
    assert process(stack, "held") == outdated
    checked = play("playbooks/patch.yml", inventory, f"--limit={stack.name}", "--check")
    assert "held.service" in said(checked) and process(stack, "held") == outdated
    run = play("playbooks/patch.yml", inventory, f"--limit={stack.name}", "-e", "reboot=never")
    assert run.returncode == 0, run.stdout[-4000:]
    assert re.search(r"restarted were: .*?\bheld\.service", said(run))
    assert process(stack, "held") != outdated
    assert started(stack) == before


def test_without_our_drop_in_it_would_be_restarted_at_once(stack: Stack, outdated: str) -> None:
    drop_in = "/etc/needrestart/conf.d/slipway.conf"
    stack.run(f"mv {drop_in} /root/needrestart.slipway")
    try:
        stack.run("DEBIAN_FRONTEND=noninteractive needrestart -r a </dev/null")
    finally:
        stack.run(f"mv /root/needrestart.slipway {drop_in}")
    assert process(stack, "held") != outdated


def test_a_reboot_is_told_and_foreseen_and_not_done_unasked(stack: Stack, inventory: Path) -> None:
    only = f"--limit={stack.name}"
    # A container has the machine's boot_id, but a systemd of its own.
    ask = "systemctl show --property UserspaceTimestampMonotonic --value"
    boot = stack.run(ask)
    stack.run("touch /run/reboot-required; echo libc6 > /run/reboot-required.pkgs")
    try:
        status = play("playbooks/status.yml", inventory, only)
        checked = play("playbooks/patch.yml", inventory, only, "--check")
        run = play("playbooks/patch.yml", inventory, only, "-e", "reboot=never")
    finally:
        stack.run("rm /run/reboot-required /run/reboot-required.pkgs")
    assert "it needs a reboot, for libc6" in said(status)
    assert "it would be rebooted." in said(checked)
    assert run.returncode == 0 and "run it again without -e reboot=never" in said(run)
    assert stack.run(ask) == boot
    refused = play("playbooks/patch.yml", inventory, only, "-e", "reboot=perhaps")
    assert refused.returncode != 0 and "reboot: is perhaps" in said(refused)


def test_packages_that_nobody_signed_are_refused(stack: Stack) -> None:
    stack.run(REPOSITORY)
    source = "/etc/apt/sources.list.d/security-test.list"
    loose = "/etc/apt/apt.conf.d/10loose"
    try:
        stack.run(f"sed -i 's/ .trusted=yes.//' {source}; rm -rf /var/lib/apt/lists/*security_*")
        stack.run(
            'printf \'APT::Get::AllowUnauthenticated "true";\\nAcquire::AllowInsecureRepositories "true";\\n\''
            f" > {loose}"
        )
        update = stack.host.run("apt-get update")
        assert "is not signed" in update.stdout + update.stderr
        stack.host.run("apt-get install --yes harmless")
        assert installed(stack) == "1.0"
    finally:
        stack.host.run(f"rm -f {loose}; {WITHDRAWN}")


# --- What the host tells, and lets others do ------------------------------------------------------


def test_nobody_talks_the_host_into_another_route(stack: Stack) -> None:
    for setting in ("accept_redirects", "send_redirects", "accept_source_route"):
        values = stack.run(f"cat /proc/sys/net/ipv4/conf/*/{setting}").split()
        assert values and set(values) == {"0"}, setting
    # Where there is no IPv6, there is nothing to be talked into.
    assert set(stack.host.run("cat /proc/sys/net/ipv6/conf/*/accept_redirects").stdout.split()) <= {
        "0"
    }


def test_a_container_s_role_leaves_the_machine_s_kernel_alone(stack: Stack) -> None:
    told = stack.run("grep -E '^[a-z]' /etc/sysctl.d/60-slipway.conf").splitlines()
    assert told and all(line.startswith("net.ipv") for line in told)
    assert stack.host.run("test -e /etc/modprobe.d/slipway.conf").rc == 1


def test_a_file_of_somebody_else_has_the_last_word(stack: Stack, inventory: Path) -> None:
    key, other = "net.ipv4.conf.all.log_martians", "/etc/sysctl.d/99-other.conf"
    ask = f"cat /proc/sys/{key.replace('.', '/')}"
    assert stack.run(ask).strip() == "1"
    stack.run(f"echo '{key} = 0' > {other}; systemctl restart systemd-sysctl")
    try:
        run = play("molecule/hardening/host.yml", inventory, f"--limit={stack.name}")
        assert run.returncode == 0 and changes(run)[stack.name] == 0, run.stdout[-3000:]
        assert stack.run(ask).strip() == "0"
    finally:
        stack.run(f"rm {other}; systemctl restart systemd-sysctl")


def test_who_logs_in_leaves_no_core_dump_and_nothing_for_others_to_read(stack: Stack) -> None:
    login = "su - deploy --shell /bin/bash --command"
    assert stack.run(f"{login} 'ulimit -H -c'").strip() == "0"
    assert stack.run(f"{login} umask").strip() == "0027"


@pytest.mark.parametrize("path", ["/etc/sudoers.d", "/etc/ssh/sshd_config", "/etc/cron.d", "/root"])
def test_what_is_root_s_is_read_by_root_alone(stack: Stack, path: str) -> None:
    if stack.host.run(f"test -e {path}").rc:
        pytest.skip("not on this host")
    assert stack.host.run(f"runuser -u nobody -- test -r {path}").rc == 1
    # It would see what is open.
    assert stack.host.run("runuser -u nobody -- test -r /etc/passwd").rc == 0


SWITCHED = {
    "baseline_upgrades": False,
    "baseline_needrestart": False,
    "baseline_package_trust": False,
    "baseline_sysctl": False,
    "baseline_core_dumps": True,
    "baseline_umask": "",
    "baseline_file_modes": False,
    "baseline_banner": "Ask it@example.org before you go on.",
}
DROP_INS = (
    "/etc/apt/apt.conf.d/60slipway-upgrades",
    "/etc/apt/apt.conf.d/99slipway-trust",
    "/etc/needrestart/conf.d/slipway.conf",
    "/etc/sysctl.d/60-slipway.conf",
    "/etc/security/limits.d/60-slipway.conf",
    "/etc/systemd/coredump.conf.d/slipway.conf",
    "/etc/profile.d/slipway.sh",
    "/etc/tmpfiles.d/slipway-modes.conf",
)


def test_each_switch_is_one(stack: Stack, inventory: Path) -> None:
    only, given = f"--limit={stack.name}", ("-e", json.dumps(SWITCHED))
    banners = {path: stack.run(f"cat {path}") for path in ("/etc/issue", "/etc/issue.net")}
    assert not [path for path in DROP_INS if stack.host.run(f"test -e {path}").rc]
    try:
        run = play("molecule/hardening/host.yml", inventory, only, *given)
        assert run.returncode == 0, run.stdout[-4000:]
        assert not [path for path in DROP_INS if stack.host.run(f"test -e {path}").rc == 0]
        assert stack.run("cat /etc/issue.net") == f"{SWITCHED['baseline_banner']}\n"
        # Debian's own: of 13's pam_umask, one whose group is his own lets it write.
        assert stack.run("su - deploy --shell /bin/bash --command umask").strip() in (
            "0022",
            "0002",
        )
        again = play("molecule/hardening/host.yml", inventory, only, *given)
        assert changes(again)[stack.name] == 0, again.stdout[-4000:]
    finally:
        for path, text in banners.items():
            stack.run(f"cat > {path} <<'END'\n{text}END")
        back = play("molecule/hardening/host.yml", inventory, only)
    assert back.returncode == 0, back.stdout[-4000:]
    assert not [path for path in DROP_INS if stack.host.run(f"test -e {path}").rc]
    assert eventually(lambda: stack.get("https://tally.test/readyz").status_code == 200, 20)


def test_what_can_not_be_is_refused_before_anything_is_touched(
    stack: Stack, inventory: Path
) -> None:
    given = {"baseline_umask": "9", "baseline_upgrades_reboot_at": "noon"}
    run = play(
        "molecule/hardening/host.yml", inventory, f"--limit={stack.name}", "-e", json.dumps(given)
    )
    assert run.returncode != 0
    assert f"{stack.name}: baseline_upgrades_reboot_at is noon" in said(run)
    assert "baseline_umask is 9" in said(run)
    assert changes(run)[stack.name] == 0
