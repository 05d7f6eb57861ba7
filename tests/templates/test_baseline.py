"""What the role baseline writes, as the programs that it is for read it."""

from __future__ import annotations

import re
import subprocess
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from .conftest import ROOT, Host, read, trusted

UPGRADES = "etc/apt/apt.conf.d/60slipway-upgrades.j2"
TRUST = "etc/apt/apt.conf.d/99slipway-trust.j2"
NEEDRESTART = "etc/needrestart/conf.d/slipway.conf.j2"
SYSCTL = "etc/sysctl.d/60-slipway.conf.j2"
MODPROBE = "etc/modprobe.d/slipway.conf.j2"
MACHINE = {"__baseline_look": {"stdout": "container none\r\ntimesyncd enabled\r\n"}}
CONTAINER = {"__baseline_look": {"stdout": "container podman\r\n"}}


def ini(text: str) -> ConfigParser:
    """Return a file of systemd's."""
    conf = ConfigParser()
    conf.optionxform = str  # type: ignore[assignment,method-assign]  # systemd minds the case
    conf.read_string(text)
    return conf


def settings(text: str) -> dict[str, str]:
    """Return the settings of a file as sysctl(8) reads it."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return dict(line.split(" = ", 1) for line in lines)


def worked_out(host: Host, name: str, **given: Any) -> Any:
    """Return a variable of the role."""
    variables = host.variables("baseline") | {"slipway_installed": []} | given
    return Templar(DataLoader(), variables).template(trust_as_template(f"{{{{ {name} }}}}"))


def apt(tmp_path: Path, *texts: str) -> list[str]:
    """Return what apt makes of files that it reads one after the other, and of nothing else."""
    parts = tmp_path / "parts"
    parts.mkdir()
    for number, text in enumerate(texts):
        (parts / f"{number}0test").write_text(text)
    # Read before the files that it names, in place of the machine's own.
    (tmp_path / "apt.conf").write_text(f'Dir::Etc::parts "{parts}";\nDir::Etc::main "none";\n')
    done = subprocess.run(
        ["apt-config", "dump"],
        env={"APT_CONFIG": str(tmp_path / "apt.conf"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not done.stderr, done.stderr
    return done.stdout.splitlines()


def test_the_journal_is_kept_and_bounded(host: Host) -> None:
    template = "etc/systemd/journald.conf.d/slipway.conf.j2"
    conf = ini(host.render("baseline", template, baseline_journald_max_use="300M"))
    assert dict(conf["Journal"]) == {"Storage": "persistent", "SystemMaxUse": "300M"}


def test_upgrades_come_from_where_they_are_told_to_and_from_nowhere_else(
    host: Host, tmp_path: Path
) -> None:
    debians = 'Unattended-Upgrade::Origins-Pattern { "origin=Debian,codename=${distro_codename},label=Debian"; };'
    said = apt(tmp_path, debians, host.render("baseline", UPGRADES))
    name = "Unattended-Upgrade::Origins-Pattern:: "
    assert [line.removeprefix(name) for line in said if line.startswith(name)] == [
        '"origin=Debian,codename=${distro_codename},label=Debian-Security";',
        '"origin=Debian,codename=${distro_codename}-security,label=Debian-Security";',
    ]
    assert 'Unattended-Upgrade::Automatic-Reboot "false";' in said
    assert 'APT::Periodic::Unattended-Upgrade "1";' in said


def test_what_others_keep_from_upgrades_stays_kept(host: Host, tmp_path: Path) -> None:
    others = host.render("postgresql", "etc/apt/apt.conf.d/60slipway-postgresql.j2")
    said = apt(tmp_path, others, host.render("baseline", UPGRADES))
    assert 'Unattended-Upgrade::Package-Blacklist:: "^postgresql-[0-9]+$";' in said


def test_a_reboot_has_its_hour_where_one_is_given(host: Host, tmp_path: Path) -> None:
    said = apt(tmp_path, host.render("baseline", UPGRADES, baseline_upgrades_reboot_at="04:30"))
    assert 'Unattended-Upgrade::Automatic-Reboot "true";' in said
    assert 'Unattended-Upgrade::Automatic-Reboot-Time "04:30";' in said


def test_apt_trusts_nothing_unsigned_whatever_was_said_before(host: Host, tmp_path: Path) -> None:
    loose = 'APT::Get::AllowUnauthenticated "true"; Acquire::AllowInsecureRepositories "true";'
    said = apt(tmp_path, loose, host.render("baseline", TRUST))
    assert 'APT::Get::AllowUnauthenticated "false";' in said
    assert 'Acquire::AllowInsecureRepositories "false";' in said


@pytest.mark.parametrize(
    ("unit", "restarted"),
    [
        ("ssh.service", True),
        ("cron.service", True),
        ("nginx.service", False),
        ("shop@blue.service", False),
        ("postgresql@17-main.service", False),
        ("docker.service", False),
        # It waits for the upgrade that needrestart is a part of, for 25 minutes, and then ends it.
        ("unattended-upgrades.service", False),
    ],
)
def test_needrestart_restarts_what_loses_nothing(host: Host, unit: str, restarted: bool) -> None:
    # As needrestart judges: the first pattern that fits, in the order of their texts, or else the opposite of defno.
    # Its own order is another each time, so no unit is to be left to two patterns that differ.
    judge = (
        "our %nrconf; foreach my $text (@ARGV[1 .. $#ARGV]) { eval $text; die $@ if $@ }"
        " my $restart = !$nrconf{defno};"
        " foreach my $re (sort keys %{$nrconf{override_rc}})"
        " { next unless $ARGV[0] =~ /$re/; $restart = $nrconf{override_rc}{$re}; last }"
        " print $restart && $nrconf{restart} eq 'a' ? 'yes' : 'no'"
    )
    files = [
        host.render("postgresql", "etc/needrestart/conf.d/slipway-postgresql.conf.j2"),
        host.render("baseline", NEEDRESTART),
    ]
    done = subprocess.run(
        ["perl", "-e", judge, unit, *files], capture_output=True, text=True, check=True
    )
    assert done.stdout == ("yes" if restarted else "no")


def test_the_kernel_is_told_each_setting_once_and_most_of_them_why(host: Host) -> None:
    text = host.render("baseline", SYSCTL, **MACHINE)
    told = settings(text)
    assert len(told) == len(re.findall(r"(?m)^[^#\s]", text))
    assert told["kernel.kptr_restrict"] == "2"
    assert told["kernel.core_pattern"] == "|/bin/false"


def test_nothing_that_containers_ipv6_or_the_database_live_by_is_set(host: Host) -> None:
    told = settings(host.render("baseline", SYSCTL, **MACHINE))
    assert not [key for key in told if re.search(r"forward|accept_ra|disable_ipv6|userns", key)]
    assert told["net.ipv4.conf.all.rp_filter"] == "2"
    assert told["fs.protected_regular"] == "1"
    assert "kernel.modules_disabled" not in told


def test_a_container_leaves_the_machine_s_kernel_alone(host: Host) -> None:
    told = settings(host.render("baseline", SYSCTL, **CONTAINER))
    assert told and all(key.startswith(("net.ipv4.", "net.ipv6.")) for key in told)
    # And the machine's network, where it is in that.
    shared = {"stdout": "container podman\r\nnetwork of the machine\r\n"}
    assert settings(host.render("baseline", SYSCTL, __baseline_look=shared)) == {}
    machine = {"stdout": "container none\r\nnetwork of the machine\r\n"}
    assert "kernel.sysrq" in settings(host.render("baseline", SYSCTL, __baseline_look=machine))


@pytest.mark.parametrize("state", ["static", "masked", "masked-runtime"])
def test_where_nothing_tells_the_kernel_a_run_says_so_and_goes_on(host: Host, state: str) -> None:
    tasks: Any = read(ROOT / "roles/baseline/handlers/main.yml")
    when = {one["name"]: one["when"] for one in tasks if "when" in one}
    look = {"stdout": f"container podman\r\nsysctl {state}\r\n"}

    def comes(handler: str, *changed: str) -> bool:
        given = {"__baseline_look": look, "__baseline_changed": list(changed)}
        templar = Templar(
            DataLoader(), host.variables("baseline") | {"slipway_installed": []} | given
        )
        wanted = when[handler] if isinstance(when[handler], list) else [when[handler]]
        return all(templar.evaluate_conditional(trust_as_template(one)) for one in wanted)

    path = f"/{SYSCTL.removesuffix('.j2')}"
    assert comes("Set what the kernel is told", path) is (state == "static")
    assert comes("Say that nothing tells the kernel", path) is (state != "static")
    assert not comes("Set what the kernel is told") and not comes(
        "Say that nothing tells the kernel"
    )


def test_an_inventory_has_the_last_word_on_the_kernel(host: Host) -> None:
    given = {"kernel.yama.ptrace_scope": 0, "kernel.sysrq": "", "vm.swappiness": 10}
    told = settings(host.render("baseline", SYSCTL, baseline_sysctl_settings=given, **MACHINE))
    assert told["kernel.yama.ptrace_scope"] == "0"
    assert told["vm.swappiness"] == "10"
    assert "kernel.sysrq" not in told


def test_core_dumps_and_the_rest_have_a_switch_each(host: Host) -> None:
    with_dumps = settings(host.render("baseline", SYSCTL, baseline_core_dumps=True, **MACHINE))
    assert "kernel.core_pattern" not in with_dumps and "kernel.sysrq" in with_dumps
    without_rest = settings(host.render("baseline", SYSCTL, baseline_sysctl=False, **MACHINE))
    assert set(without_rest) == {"kernel.core_pattern", "fs.suid_dumpable"}


def test_modules_are_loaded_neither_by_name_nor_by_alias(host: Host) -> None:
    lines = host.render("baseline", MODPROBE).splitlines()
    assert {"blacklist dccp", "install dccp /bin/false"} <= set(lines)


def test_what_configuration_drives_may_need_is_not_blocked(host: Host) -> None:
    # Some clouds hand a new host its configuration on a udf medium; snaps are squashfs.
    blocked = set(re.findall(r"(?m)^blacklist (\S+)", host.render("baseline", MODPROBE)))
    assert blocked and not blocked & {"udf", "squashfs", "vfat", "iso9660", "overlay"}


def test_shells_take_the_umask(host: Host, tmp_path: Path) -> None:
    path = tmp_path / "slipway.sh"
    path.write_text(host.render("baseline", "etc/profile.d/slipway.sh.j2"))
    done = subprocess.run(["sh", "-ec", f". {path}; umask"], capture_output=True, text=True)
    assert done.stdout == "0027\n", done.stderr


def test_systemd_tmpfiles_reads_each_line(host: Host, tmp_path: Path) -> None:
    path = tmp_path / "modes.conf"
    text = host.render("baseline", "etc/tmpfiles.d/slipway-modes.conf.j2")
    path.write_text(text)
    (tmp_path / "etc").mkdir()
    crontab = tmp_path / "etc/crontab"
    crontab.touch(0o644)
    # Of another owner than root it could be run as root alone.
    mine = text.replace(" root root", "")
    path.write_text(mine)
    done = subprocess.run(
        ["systemd-tmpfiles", "--create", f"--root={tmp_path}", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert crontab.stat().st_mode & 0o777 == 0o600


SWITCHES = [
    ({}, set(), {"unattended-upgrades", "needrestart", "systemd-timesyncd"}),
    (
        {"baseline_upgrades": False},
        {"/etc/apt/apt.conf.d/60slipway-upgrades"},
        {"needrestart", "systemd-timesyncd"},
    ),
    (
        {"baseline_needrestart": "false"},  # as -e gives it
        {"/etc/needrestart/conf.d/slipway.conf"},
        {"unattended-upgrades", "systemd-timesyncd"},
    ),
    (
        {"baseline_time_sync": False, "baseline_umask": "", "baseline_modules_blocked": []},
        {"/etc/profile.d/slipway.sh", "/etc/modprobe.d/slipway.conf"},
        {"unattended-upgrades", "needrestart"},
    ),
    (
        {"baseline_sysctl": False, "baseline_core_dumps": True, "baseline_file_modes": False},
        {
            "/etc/sysctl.d/60-slipway.conf",
            "/etc/security/limits.d/60-slipway.conf",
            "/etc/systemd/coredump.conf.d/slipway.conf",
            "/etc/tmpfiles.d/slipway-modes.conf",
        },
        {"unattended-upgrades", "needrestart", "systemd-timesyncd"},
    ),
]
# By default.
OFF = {
    "/etc/systemd/timesyncd.conf.d/slipway.conf",
    "/etc/aide/aide.conf.d/99_slipway",
    "/etc/audit/rules.d/60-slipway.rules",
}


@pytest.mark.parametrize(("given", "off", "packages"), SWITCHES)
def test_each_concern_has_a_switch(
    host: Host, given: dict[str, Any], off: set[str], packages: set[str]
) -> None:
    given = {name: trusted(value) for name, value in given.items()} | MACHINE
    assert set(worked_out(host, "__baseline_off", **given)) == OFF | off
    wanted = worked_out(host, "__baseline_on | map(attribute='path')", **given)
    paths = worked_out(host, "__baseline_paths")
    assert set(wanted) == set(paths) - OFF - off
    assert set(worked_out(host, "__baseline_wanted", **given)) == packages


def test_a_clock_that_is_kept_already_is_left_to_whoever_keeps_it(host: Host) -> None:
    given = MACHINE | {"slipway_installed": ["chrony"]}
    assert "systemd-timesyncd" not in worked_out(host, "__baseline_wanted", **given)
    assert "systemd-timesyncd" not in worked_out(host, "__baseline_wanted", **CONTAINER)


def test_a_container_has_no_audit_log_and_no_modules(host: Host) -> None:
    on = CONTAINER | {"baseline_auditd": True}
    assert "auditd" not in worked_out(host, "__baseline_wanted", **on)
    off = worked_out(host, "__baseline_off", **on)
    assert {"/etc/audit/rules.d/60-slipway.rules", "/etc/modprobe.d/slipway.conf"} <= set(off)
    assert "auditd" in worked_out(host, "__baseline_wanted", **MACHINE, baseline_auditd=True)


def test_what_is_watched_is_told_to_nobody(host: Host) -> None:
    rules = "/etc/audit/rules.d/60-slipway.rules"
    (found,) = [
        one for one in worked_out(host, "__baseline_drop_ins", **MACHINE) if one["path"] == rules
    ]
    # As auditd's package has its own; the folder is made or mended with the mode that is said here.
    assert (found["mode"], found["folder_mode"]) == ("0640", "0750")


def test_each_drop_in_has_a_template_and_each_template_is_one(host: Host) -> None:
    templates = ROOT / "roles/baseline/templates"
    found = {
        f"/{path.relative_to(templates)}".removesuffix(".j2") for path in templates.rglob("*.j2")
    }
    assert set(worked_out(host, "__baseline_paths")) == found


def test_what_is_written_and_removed_is_what_handlers_go_by(host: Host) -> None:
    given = {
        "__baseline_written": {
            "results": [
                {"changed": True, "item": {"path": "/etc/a"}},
                {"changed": False, "skipped": True, "item": {"path": "/etc/b"}},
            ]
        },
        "__baseline_removed": {"results": [{"changed": True, "item": "/etc/c"}]},
    }
    assert worked_out(host, "__baseline_changed", **given) == ["/etc/a", "/etc/c"]
