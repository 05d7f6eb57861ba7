"""An audit reads what programs say as they mean it, tells what is new, and lets no host write its page."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from .conftest import load

AT = "2027-01-15T05:00:00"
# The ends of lines of a report of Lynis 3.1, of which the rest is left out.
LYNIS = """\
lynis_version=3.1.4
report_datetime_start=2027-01-15 04:58:11
warning[]=PKGS-7392|Found one or more vulnerable packages.|-|-|
suggestion[]=BOOT-5122|Set a password on GRUB boot loader to prevent altering boot configuration|-|-|
suggestion[]=AUTH-9286|Configure minimum password age in /etc/login.defs|-|-|
suggestion[]=AUTH-9286|Configure maximum password age in /etc/login.defs|-|-|
suggestion[]=SSH-7408|Consider hardening SSH configuration|LogLevel (set INFO to VERBOSE)|-|
hardening_index=71
lynis_tests_done=252
"""
LOOKS = {
    "lynis": LYNIS,
    "upgrades": "upgrade libssl3 [3.0.13-1] (3.0.15-1 Debian-Security:12/stable-security [amd64])\n"
    "upgrade tzdata [2024a] (2024b Debian:12.8/stable [all])\nrestart nginx.service\n",
    # As ss of iproute2 6.1 prints it.
    "ports": """\
udp   UNCONN 0      0          127.0.0.1:323        0.0.0.0:*    users:(("chronyd",pid=400,fd=5))
tcp   LISTEN 0      128          0.0.0.0:22         0.0.0.0:*    users:(("sshd",pid=52,fd=3))
tcp   LISTEN 0      511             [::]:443           [::]:*    users:(("nginx",pid=5230,fd=9),("nginx",pid=5229,fd=9))
tcp   LISTEN 0      200        127.0.0.1:5432       0.0.0.0:*    users:(("postgres",pid=4471,fd=6))
tcp   LISTEN 0      4096               *:8000             *:*
""",
    "exposure": '[{"unit":"shop@blue.service","exposure":"1.4","predicate":"OK","happy":"x"},'
    '{"unit":"cron.service","exposure":"9.6","predicate":"UNSAFE","happy":"x"},'
    '{"unit":"user@1000.service","exposure":"9.4","predicate":"UNSAFE","happy":"x"}]',
    "failed": "sad.service loaded failed failed A sad one\n",
    "certificates": "/etc/slipway/tls/shop/fullchain.pem Jan 20 05:00:00 2027 GMT\n"
    "/etc/slipway/ca/ca.pem Jan  9 05:00:00 2037 GMT\n/etc/letsencrypt/live/odd/cert.pem \n",
    "users": "user\troot\t0\t/bin/bash\tL\troot\n"
    "user\tdeploy\t1000\t/bin/bash\tL\troot\n"
    "key\tdeploy\t256 SHA256:abcdefghijklmnopqrstuvwxyz anna@laptop (ED25519)\n"
    "user\ttoor\t0\t/bin/sh\tP\troot\n"
    "user\tguest\t1001\t/bin/sh\tNP\t-\n",
    "kernel": "kernel.kptr_restrict\t2\t0\n",
    "sources": "http://deb.example.org\t\t/usr/share/keyrings/debian-archive-keyring.gpg\n"
    "https://old.example.org\t\t\nfile:\tyes\t\n",
    "changed": "??5??????   /usr/bin/ls\n??5?????? c /etc/issue\nmissing     /usr/share/doc/x/copyright\n"
    ".M.......   /usr/bin/passwd\n",
    "files": "writable /srv/dump/\nsetuid /usr/bin/sudo\nsetuid /usr/bin/sudo\n",
}
CLEAN = dict.fromkeys(LOOKS, "")


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    """Return the filters."""
    return load("plugins/filter/audit.py")


@pytest.fixture(scope="module")
def info() -> ModuleType:
    """Return the module that looks at a host."""
    return load("playbooks/library/audit_info.py")


def made(audit: ModuleType, before: Any = None, **looks: str) -> dict[str, Any]:
    """Return a report of one host."""
    results = {"vm1": {"looks": LOOKS | looks}}
    report: dict[str, Any] = audit.audit(results, before or {}, AT)
    return report


def row(audit: ModuleType, **looks: str) -> dict[str, Any]:
    """Return what is reported of one host."""
    (found,) = made(audit, **looks)["hosts"]
    return dict(found)


def test_lynis_is_read(audit: ModuleType) -> None:
    found = row(audit)
    assert found["index"] == 71
    assert [one["test"] for one in found["findings"]] == [
        "PKGS-7392",  # a warning, so it comes first
        "AUTH-9286",
        "AUTH-9286",
        "BOOT-5122",
        "SSH-7408",
    ]
    assert found["findings"][0]["detail"] == ""
    assert found["findings"][-1]["detail"] == "LogLevel (set INFO to VERBOSE)"


def test_without_lynis_there_is_no_index_and_the_rest_all_the_same(audit: ModuleType) -> None:
    report = made(audit, lynis="")
    assert report["hosts"][0]["index"] is None and report["hosts"][0]["ports"]
    assert "-e install=true" in audit.lines(report, ["vm1"])[0]
    assert "hardening_index" not in audit.page(report)


def test_ports_are_told_with_who_listens_and_whom_for(audit: ModuleType) -> None:
    found = [
        (one["protocol"], one["address"], one["port"], one["process"], one["inside"])
        for one in row(audit)["ports"]
    ]
    assert found == [
        ("tcp", "0.0.0.0", "22", "sshd", False),
        ("tcp", "[::]", "443", "nginx", False),
        ("tcp", "*", "8000", "", False),
        ("udp", "127.0.0.1", "323", "chronyd", True),
        ("tcp", "127.0.0.1", "5432", "postgres", True),
    ]


def test_services_come_by_exposure(audit: ModuleType) -> None:
    found = [(one["unit"], one["exposure"]) for one in row(audit)["exposure"]]
    assert found[0] == ("cron.service", 9.6) and found[-1] == ("shop@blue.service", 1.4)
    assert row(audit, exposure="Failed to connect to bus")["exposure"] == []


def test_users_are_told_with_their_keys(audit: ModuleType) -> None:
    found = {one["name"]: one for one in row(audit)["users"]}
    assert found["deploy"]["root"] and found["deploy"]["password"] == "locked"
    assert found["deploy"]["keys"] == [
        "256 SHA256:abcdefghijklmnopqrstuvwxyz anna@laptop (ED25519)"
    ]


@pytest.mark.parametrize(
    "seen",
    [
        "toor is root by another name",
        "guest logs in without a password",
        "packages of file: are trusted without a signature",
        "files of packages are not as they came: /usr/bin/ls",
        "everybody may write to /srv/dump/",
        "the certificate /etc/slipway/tls/shop/fullchain.pem ends in 5 d",
        "security upgrades wait: libssl3",
        "with an old library run nginx.service",
        "failed: sad.service",
        "the kernel isn't as it was told: kernel.kptr_restrict is 0, not 2",
    ],
)
def test_our_own_checks_see_what_is_wrong(audit: ModuleType, seen: str) -> None:
    problems = {one["seen"]: one["next"] for one in row(audit)["problems"]}
    assert problems[seen]
    assert len(problems) == 10


def test_the_database_s_own_upgrade_has_a_playbook_of_its_own(audit: ModuleType) -> None:
    waits = "upgrade postgresql-15 [15.8-0] (15.10-0 Debian-Security:12/stable-security [amd64])\n"
    (found,) = audit.audit({"vm1": {"looks": CLEAN | {"upgrades": waits}}}, {}, AT)["hosts"]
    (problem,) = found["problems"]
    assert problem["seen"] == "a security upgrade of PostgreSQL waits"
    assert "playbooks/upgrade_database.yml --limit vm1" in problem["next"]


def test_a_clean_host_has_no_problem(audit: ModuleType) -> None:
    (found,) = audit.audit({"vm1": {"looks": CLEAN}}, {}, AT)["hosts"]
    assert found["problems"] == []


def test_the_first_audit_has_nothing_to_be_held_against(audit: ModuleType) -> None:
    report = made(audit)
    assert report["hosts"][0]["changes"]["new"] == []
    assert "the first audit" in audit.lines(report, ["vm1"])[0]


def test_the_same_host_once_more_is_no_news(audit: ModuleType) -> None:
    # A report comes back from a file.
    before = json.loads(json.dumps(made(audit)))
    changes = made(audit, before)["hosts"][0]["changes"]
    assert (changes["new"], changes["gone"]) == ([], [])
    assert (changes["index"], changes["since"][:10]) == (71, "2027-01-15")


def test_what_is_new_and_what_is_gone_is_told(audit: ModuleType) -> None:
    before = json.loads(json.dumps(made(audit)))
    lynis = LYNIS.replace("=71", "=86").replace(
        "suggestion[]=BOOT-5122|Set a password on GRUB boot loader to prevent altering boot configuration|-|-|\n",
        "",
    )
    users = LOOKS["users"] + "key\tdeploy\t256 SHA256:somebodyelse eve@laptop (ED25519)\n"
    ports = LOOKS["ports"] + 'tcp LISTEN 0 5 0.0.0.0:9999 0.0.0.0:* users:(("nc",pid=9,fd=3))\n'
    report = made(audit, before, lynis=lynis, users=users, ports=ports)
    changes = report["hosts"][0]["changes"]
    assert changes["new"] == [
        ["key", "deploy: 256 SHA256:somebodyelse eve@laptop (ED25519)"],
        ["port", "tcp 0.0.0.0:9999 nc"],
    ]
    ((kind, text),) = changes["gone"]
    assert kind == "suggestion" and text.startswith("BOOT-5122: Set a password")
    assert audit.lines(report, ["vm1"])[0] == (
        "vm1: index 71 -> 86; 10 problems; 2 new and 1 gone since 2027-01-15."
    )


def test_lynis_that_did_not_run_once_makes_no_news(audit: ModuleType) -> None:
    before = made(audit)
    changes = made(audit, before, lynis="")["hosts"][0]["changes"]
    assert (changes["new"], changes["gone"]) == ([], [])


def test_who_asks_is_no_news(audit: ModuleType) -> None:
    before = made(audit)
    other = LOOKS["exposure"].replace("user@1000", "user@1001")
    assert made(audit, before, exposure=other)["hosts"][0]["changes"]["new"] == []


def test_a_host_that_was_not_looked_at_stays_as_it_was(audit: ModuleType) -> None:
    both = {"vm1": {"looks": LOOKS}, "vm2": {"looks": CLEAN}}
    before = audit.audit(both, {}, AT)
    results = {"vm1": {"looks": LOOKS}, "vm2": {"unreachable": True, "msg": "no\nroute"}}
    report = audit.audit(results, before, "2027-02-01T05:00:00")
    assert [one["host"] for one in report["hosts"]] == ["vm1", "vm2"]
    assert report["hosts"][1]["at"] == before["hosts"][1]["at"]
    assert audit.lines(report, ["vm1", "vm2"])[-1] == "vm2: not looked at: no route"
    assert "vm2 was not looked at: no route" in audit.page(report)


def test_a_report_of_another_version_is_left_alone(audit: ModuleType) -> None:
    assert made(audit, {"version": 0, "hosts": [{"odd": 1}]})["hosts"][0]["changes"]["since"] == ""


class Page(HTMLParser):
    """What a page is made of, and whether all that is opened is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("href", "src")]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing_else(audit: ModuleType) -> None:
    text = audit.page(made(audit))
    page = Page(text)
    assert page.open == []
    assert not page.tags & {"script", "link", "img", "iframe", "form"}
    assert page.addresses == ["#vm1"]
    assert "url(" not in text and "@import" not in text
    assert "prefers-color-scheme: dark" in text and 'name="viewport"' in text
    for seen in ("71", "BOOT-5122", "shop@blue.service", "/usr/bin/sudo", "anna@laptop"):
        assert seen in text


def test_what_a_host_says_is_text_on_the_page_and_nothing_more(audit: ModuleType) -> None:
    evil = "<script>alert(1)</script>\"'"
    looks = {
        "lynis": f"warning[]=X|{evil}|{evil}|-|\nhardening_index=1\n",
        "users": f"user\t{evil}\t5\t{evil}\tL\t-\nkey\t{evil}\t{evil}\n",
        "failed": f"{evil} x\n",
        "files": f"writable /{evil}\n",
        "ports": f'tcp LISTEN 0 5 {evil}:1 0.0.0.0:* users:(("{evil}",pid=1,fd=3))\n',
    }
    before = made(audit)
    text = audit.page(made(audit, before, **looks))
    assert "<script" not in text and "&lt;script&gt;" in text
    assert Page(text).open == []


def test_colours_differ_from_what_is_behind_them(audit: ModuleType) -> None:
    """Each text has a contrast of 4.5 with the paper, by light and by dark, as WCAG 2 has it."""

    def luminance(colour: str) -> float:
        full = colour if len(colour) == 6 else "".join(2 * one for one in colour)
        parts = [int(full[at : at + 2], 16) / 255 for at in (0, 2, 4)]
        linear = [
            one / 12.92 if one <= 0.03928 else ((one + 0.055) / 1.055) ** 2.4 for one in parts
        ]
        return sum(
            weight * one for weight, one in zip((0.2126, 0.7152, 0.0722), linear, strict=True)
        )

    schemes = re.findall(r":root \{([^}]*)\}", audit.page(made(audit)))
    assert len(schemes) == 2
    for scheme in schemes:
        colours = dict(re.findall(r"--(\w+): #([0-9a-f]+)", scheme))
        for behind in ("paper", "box"):
            for name in ("ink", "dim", "good", "fair", "bad", "link"):
                bright, dark = sorted((luminance(colours[name]), luminance(colours[behind])))[::-1]
                assert (bright + 0.05) / (dark + 0.05) >= 4.5, (name, behind)


def test_the_module_asks_the_kernel_what_it_was_told(
    info: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    conf = tmp_path / "60-slipway.conf"
    conf.write_text("# why\nkernel.ostype = Other\nkernel.osty*e = Linux\nno.such.key = 1\n")
    monkeypatch.setattr(info, "SYSCTL", conf)
    assert list(info.kernel()) == ["kernel.ostype\tOther\tLinux"]
    # One that has its own is no exception to be told, and a name may have a dot in it.
    conf.write_text("kernel.ostype = Linux\nkernel.osty*e = Other\nkernel/ostype = Linux\n")
    assert list(info.kernel()) == []
    assert info.place("net.ipv4.conf.eth0/1.rp_filter") == "net/ipv4/conf/eth0.1/rp_filter"
    assert info.place("net/ipv4/conf/eth0.1/rp_filter") == "net/ipv4/conf/eth0.1/rp_filter"
    monkeypatch.setattr(info, "SYSCTL", tmp_path / "none")
    assert list(info.kernel()) == []


def test_the_module_tells_sources_that_nobody_signs(info: ModuleType, tmp_path: Path) -> None:
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    (tmp_path / "sources.list").write_text(
        "# deb http://off.example.org x\ndeb http://deb.example.org trixie main\n"
        "deb [arch=amd64 trusted=yes] file:/srv/newer ./\n"
        "deb-src [allow-insecure=yes] http://f.example.org ./\n"
        "deb [signed-by=/etc/apt/keyrings/a.asc] https://me:secret@a.example.org stable main\n"
    )
    (parts / "b.sources").write_text(
        "Types: deb\nURIs: https://me:secret@b.example.org\nSuites: x\nSigned-By:\n -----BEGIN KEY\n .\n mQ\n\n"
        "# another\nTypes: deb\nURIs: https://c.example.org https://d.example.org\nTrusted: yes\n\n"
        "Enabled: no\nURIs: https://e.example.org\n"
    )
    found = [line.split("\t") for line in info.sources(tmp_path)]
    assert [(site, trusted, bool(signed)) for site, trusted, signed in found] == [
        ("http://deb.example.org", "", False),
        ("file:/srv/newer", "yes", False),
        ("http://f.example.org", "yes", False),
        ("https://a.example.org", "", True),
        ("https://b.example.org", "", True),
        ("https://c.example.org", "yes", False),
        ("https://d.example.org", "yes", False),
    ]


def test_the_module_reads_certificates(info: ModuleType, certificate: Path, tmp_path: Path) -> None:
    place = tmp_path / "etc/slipway/tls/shop"
    place.mkdir(parents=True)
    (place / "fullchain.pem").write_bytes(certificate.read_bytes())
    (line,) = info.certificates(tmp_path, 10)
    assert re.fullmatch(r"\S+/fullchain\.pem \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4} GMT", line)


def test_the_module_survives_programs_that_are_not_there_or_never_end(info: ModuleType) -> None:
    assert info.said(["/no/such/program"], 5) == ""
    assert info.said(["sleep", "5"], 0.1) == ""
    assert info.said(["sh", "-c", "echo told; exit 3"], 5) == "told\n"
