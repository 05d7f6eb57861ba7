"""Filters that turn what playbooks/audit.yml has seen into a report, and that into a page and a few lines.

What a host is like is held against what it was like at the last audit: what is new, and what is gone.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

sys.path.insert(0, str(Path(__file__).resolve().parent))

import upkeep  # plugins are in no package

CERTIFICATE_DAYS = 14  # the role certificates renews long before
TEMPLATES = Path(__file__).resolve().parents[2] / "playbooks/templates"
# What systemd says of a unit's exposure, from 0 to 10.
OPEN, MEDIUM = 7.0, 4.0
UNSIGNED = "trusted without a signature"
PASSWORDS = {"P": "set", "L": "locked", "NP": "none"}
# Files of packages that small images leave out, and those that change by themselves.
EXPECTED = re.compile(r"/usr/share/(man|doc|locale)/|/var/")
# As many as there are sessions: who asks has one.
SESSION = re.compile(r"user(-runtime-dir)?@\d+\.service")
# Of what a report is like. One of another version is not held against it.
VERSION = 1

Problem = tuple[str, str]
"""What is wrong, and what to do next."""


def findings(report: str) -> list[dict[str, str]]:
    """Return Lynis' warnings and suggestions: the kind, the test, what it says, and of what."""
    found = []
    for kind, rest in re.findall(r"(?m)^(warning|suggestion)\[\]=([^\r\n]*)", report):
        test, text, detail = [*rest.split("|"), "", ""][:3]
        found.append(
            {
                "kind": kind,
                "test": test,
                "text": text.strip(),
                "detail": detail.strip().removeprefix("-"),
            }
        )
    return sorted(found, key=lambda one: (one["kind"] != "warning", one["test"], one["text"]))


def index(report: str) -> int | None:
    """Return Lynis' hardening index, from 0 to 100; nothing if it has not run to its end."""
    found = re.search(r"(?m)^hardening_index=(\d+)", report)
    return int(found[1]) if found else None


def exposure(said: str) -> list[dict[str, Any]]:
    """Return services with their exposure, the most exposed first."""
    try:
        rows = json.loads(said or "[]")
    except ValueError:
        return []
    found = [
        {"unit": one["unit"], "exposure": float(one["exposure"]), "word": one["predicate"]}
        for one in rows
        if re.fullmatch(r"\d+(\.\d+)?", str(one.get("exposure", "")))
    ]
    return sorted(found, key=lambda one: (-one["exposure"], one["unit"]))


def ports(said: str) -> list[dict[str, Any]]:
    """Return where the host listens, and what does; what only the host itself reaches comes last."""
    found = {}
    for line in said.splitlines():
        fields = line.split()
        if len(fields) < 5:
            continue
        address, _, port = fields[4].rpartition(":")
        names = sorted(set(re.findall(r'\("([^"]+)",pid=', line)))
        inside = bool(re.match(r"(127\.|\[::1\]|\[::ffff:127\.)", address))
        row = {
            "protocol": fields[0],
            "address": address,
            "port": port,
            "process": ", ".join(names),
            "inside": inside,
        }
        found[fields[0], address, port] = row
    return sorted(
        found.values(),
        key=lambda one: (
            one["inside"],
            int(one["port"]) if one["port"].isdigit() else 0,
            one["protocol"],
            one["address"],
        ),
    )


def certificates(said: str, now: datetime) -> list[dict[str, Any]]:
    """Return certificates and for how many days they are good, the first to end first."""
    found = []
    for line in said.splitlines():
        path, _, ends = line.partition(" ")
        try:
            end = datetime.strptime(ends.strip(), "%b %d %H:%M:%S %Y GMT").replace(tzinfo=UTC)
        except ValueError:
            continue
        found.append({"path": path, "days": (end - now).days, "ends": end.date().isoformat()})
    return sorted(found, key=lambda one: (one["days"], one["path"]))


def users(said: str) -> list[dict[str, Any]]:
    """Return who may log in, and with which keys."""
    found: dict[str, dict[str, Any]] = {}
    for line in said.splitlines():
        kind, name, *rest = line.split("\t")
        if kind == "user" and len(rest) == 4:
            number, shell, password, root = rest
            found[name] = {
                "name": name,
                "uid": int(number),
                "shell": shell,
                "password": PASSWORDS.get(password, "unknown"),
                "root": root == "root",
                "keys": [],
            }
        elif kind == "key" and name in found:
            found[name]["keys"].append(" ".join(rest))
    return list(found.values())


def sources(said: str) -> list[dict[str, str]]:
    """Return the sources of packages that are trusted unsigned, or by any key that apt has."""
    found = {}
    for line in said.splitlines():
        site, trusted, signed = [*line.split("\t"), "", ""][:3]
        if trusted.strip() == "yes":
            found[site] = UNSIGNED
        elif not signed.strip():
            found.setdefault(site, "any key that apt has may sign it: no signed-by")
    return [{"site": site, "why": why} for site, why in sorted(found.items())]


def changed(said: str) -> list[str]:
    """Return the files of packages that are not as their package brought them, but for settings."""
    # "??5?????? c /etc/...": a digest that differs, and whether it is a file for settings.
    lines = re.findall(r"(?m)^(\S+) +(c )?(/[^\r\n]+)$", said)
    return sorted(
        path
        for marks, settings, path in lines
        if not settings and "5" in marks and not EXPECTED.match(path)
    )


def kept(said: str, key: str) -> list[str]:
    """Return what stands behind a key in each of its lines, each once."""
    return sorted(set(upkeep.words(said, key)))


def read(host: str, looks: Mapping[str, str], now: datetime) -> dict[str, Any]:
    """Return what one host is like.

    Args:
        host: Its name.
        looks: What the module ``audit_info`` has returned.
        now: When it was looked at.
    """
    pending = upkeep.read(looks["upgrades"], everything=True)
    row: dict[str, Any] = {
        "host": host,
        "at": now.isoformat(timespec="seconds"),
        "index": index(looks["lynis"]),
        "findings": findings(looks["lynis"]),
        "exposure": exposure(looks["exposure"]),
        "ports": ports(looks["ports"]),
        "writable": kept(looks["files"], "writable"),
        "setuid": kept(looks["files"], "setuid"),
        "changed_files": changed(looks["changed"]),
        "certificates": certificates(looks["certificates"], now),
        "users": users(looks["users"]),
        "sources": sources(looks["sources"]),
        "kernel": [
            dict(zip(("key", "wanted", "is"), line.split("\t"), strict=False))
            for line in looks["kernel"].splitlines()
        ],
        "failed": [line.split()[0] for line in looks["failed"].splitlines() if line.strip()],
        "upgrades": {
            "security": [one["name"] for one in pending["security"]],
            "others": [
                one["name"]
                for one in [*pending["upgrades"], *pending["database"]]
                if not one["security"]
            ],
            "reboot": pending["reboot"],
            "restarts": sorted(pending["restarts"] + pending["kept"]),
        },
    }
    row["problems"] = [{"seen": seen, "next": fix} for seen, fix in problems(row)]
    return row


def problems(row: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what is wrong with a host, as far as our own checks see it, the worst first."""
    host, upgrades = row["host"], row["upgrades"]
    patch = f"ansible-playbook playbooks/patch.yml --limit {host}"
    for user in row["users"]:
        name = user["name"]
        if user["uid"] == 0 and name != "root":
            fix = f"On {host}: userdel {name}, unless you know whose it is."
            yield f"{name} is root by another name", fix
        if user["password"] == "none":
            yield f"{name} logs in without a password", f"On {host}: passwd --lock {name}"
    for source in row["sources"]:
        if source["why"] == UNSIGNED:
            fix = "Give the source its key, with signed-by, and take trusted=yes off."
            yield f"packages of {source['site']} are {UNSIGNED}", fix
    if row["changed_files"]:
        fix = (
            f"Unless it was you: on {host}, dpkg --verify; then reinstall the package, or the host."
        )
        yield f"files of packages are not as they came: {upkeep.listed(row['changed_files'])}", fix
    if row["writable"]:
        fix = f"On {host}: chmod o-w, or a sticky bit for a folder."
        yield f"everybody may write to {upkeep.listed(row['writable'])}", fix
    for one in row["certificates"]:
        if one["days"] < CERTIFICATE_DAYS:
            ended = f"ended {-one['days']} d ago"
            when = ended if one["days"] < 0 else f"ends in {one['days']} d"
            yield f"the certificate {one['path']} {when}", "Renew it: ansible-playbook site.yml"
    if others := [one for one in upgrades["security"] if not upkeep.DATABASE.fullmatch(one)]:
        yield f"security upgrades wait: {upkeep.listed(others)}", patch
    if others != upgrades["security"]:
        fix = (
            f"When a restart suits: ansible-playbook playbooks/upgrade_database.yml --limit {host}"
        )
        yield "a security upgrade of PostgreSQL waits", fix
    if upgrades["reboot"]:
        yield f"it needs a reboot, for {upkeep.listed(upgrades['reboot'])}", patch
    elif upgrades["restarts"]:
        yield f"with an old library run {upkeep.listed(upgrades['restarts'])}", patch
    if row["failed"]:
        fix = f"On {host}: systemctl status, and journalctl -u of each."
        yield f"failed: {upkeep.listed(row['failed'])}", fix
    if row["kernel"]:
        keys = [f"{one['key']} is {one['is']}, not {one['wanted']}" for one in row["kernel"]]
        fix = "Another file of /etc/sysctl.d has the last word, or somebody has set it by hand."
        yield f"the kernel isn't as it was told: {upkeep.listed(keys)}", fix


def facts(row: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Return what a host is like as single facts, each with its kind, which can be held against others."""
    found = {
        (one["kind"], " ".join(filter(None, (f"{one['test']}:", one["text"], one["detail"]))))
        for one in row["findings"]
    }
    found |= {("problem", one["seen"]) for one in row["problems"]}
    found |= {
        ("port", f"{one['protocol']} {one['address']}:{one['port']} {one['process']}".strip())
        for one in row["ports"]
    }
    for user in row["users"]:
        found.add(("user", f"{user['name']}, {user['shell']}, password {user['password']}"))
        found |= {("key", f"{user['name']}: {key}") for key in user["keys"]}
        if user["root"]:
            found.add(("administrator", user["name"]))
    found |= {("runs as its owner", path) for path in row["setuid"]}
    found |= {("source", f"{one['site']}: {one['why']}") for one in row["sources"]}
    found |= {
        ("exposure", f"{one['unit']} {one['exposure']:.1f}")
        for one in row["exposure"]
        if not SESSION.fullmatch(one["unit"])
    }
    return found


def changes(row: Mapping[str, Any], before: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what is new about a host since the last audit, and what is gone; nothing if there was none."""
    if not before:
        return {"since": "", "index": None, "new": [], "gone": []}
    now, then = facts(row), facts(before)
    # Where Lynis has not run at both, nothing is new or gone by that.
    if (row["index"] is None) != (before["index"] is None):
        kinds = {"warning", "suggestion"}
        now, then = ({one for one in some if one[0] not in kinds} for some in (now, then))
    return {
        "since": before["at"],
        "index": before["index"],
        "new": [list(one) for one in sorted(now - then)],
        "gone": [list(one) for one in sorted(then - now)],
    }


def audit(results: Mapping[str, Any], before: Mapping[str, Any], at: str) -> dict[str, Any]:
    """Return the report: every host, with what has changed since the last.

    Args:
        results: By host, the result of the module ``audit_info``, or of the failure to run it.
        before: The last report, empty if there is none. Hosts that were not looked at now are taken from it.
        at: When this one was made, as ISO 8601 has it.
    """
    now = datetime.fromisoformat(at)
    now = now if now.tzinfo else now.replace(tzinfo=UTC)
    comparable = before.get("version") == VERSION
    known = {row["host"]: row for row in before["hosts"]} if comparable else {}
    missed = {}
    for host, result in results.items():
        if "looks" in result:
            row = read(host, result["looks"], now)
            known[host] = {**row, "changes": changes(row, known.get(host))}
        else:
            said = " ".join(str(result.get("msg") or "it has not said why").split())
            missed[host] = said
    return {
        "version": VERSION,
        "at": now.isoformat(timespec="seconds"),
        "hosts": [known[host] for host in sorted(known)],
        "missed": missed,
    }


def grade(value: float) -> str:
    """Return how exposed a service is, as a class of the page."""
    return "bad" if value >= OPEN else "fair" if value >= MEDIUM else "good"


def page(report: Mapping[str, Any]) -> str:
    """Return a report as an HTML page that needs nothing else."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,  # hosts say what is in it
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # As plain data: Ansible's own texts know where they come from.
    plain = json.loads(json.dumps(report))
    return environment.get_template("audit.html.j2").render(report=plain, grade=grade) + "\n"


def lines(report: Mapping[str, Any], hosts: list[str]) -> list[str]:
    """Return what a run says of the hosts that it has looked at, a line each."""
    found = []
    for row in report["hosts"]:
        if row["host"] not in hosts or row["host"] in report["missed"]:
            continue
        past, value = row["changes"]["index"], row["index"]
        was = f"{past} -> " if past is not None and past != value else ""
        score = (
            "no index, as lynis isn't there (-e install=true)"
            if value is None
            else f"index {was}{value}"
        )
        count = len(row["problems"])
        wrong = "no problem" if not count else "1 problem" if count == 1 else f"{count} problems"
        since = row["changes"]["since"]
        news = f"{len(row['changes']['new'])} new and {len(row['changes']['gone'])} gone since {since[:10]}"
        found.append(f"{row['host']}: {score}; {wrong}; {news if since else 'the first audit'}.")
        found += [f"    {one['seen']}. -> {one['next']}" for one in row["problems"]]
    return found + [f"{host}: not looked at: {why}" for host, why in report["missed"].items()]


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by the name that templates use."""
        return {"slipway_audit": audit, "slipway_audit_lines": lines, "slipway_audit_page": page}
