"""Filters that turn what playbooks/status.yml has seen into a report, and that into a table that can be read."""

from __future__ import annotations

import json
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import upkeep  # plugins are in no package

BACKUP_DAYS = 2  # a day and a bit more: one that has failed is told
PROVEN_DAYS = 2  # and one for each repository of the host: a night proves one of them
CERTIFICATE_DAYS = 14  # the role certificates renews long before
WIDTH = 110
HEAD = {
    "host": "host",
    "app": "app",
    "release": "release",
    "slot": "slot",
    "age": "age",
    "health": "health",
    "workers": "workers",
    "deployed": "last deploy",
    "certificate": "certificate",
    "maintenance": "maintenance",
}

STORED = {
    "host": "host",
    "repository": "repository",
    "backup": "last backup",
    "size": "size",
    "proven": "proven",
}

Problem = tuple[str, str]
"""What is wrong, and what to do next."""


def asked(apps: Mapping[str, Any], sites: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Return what ``apps`` of the module ``status_info`` takes.

    Args:
        apps: The applications, as ``slipway_apps`` gives them.
        sites: Their sites, as ``slipway_sites`` gives them.
    """
    return [
        {
            "name": app["name"],
            "host": app["domains"][0],
            "health": apps[app["name"]]["health"],
            "site": site["name"],
        }
        for site in sites
        for app in ({**apps[one["name"]], **one} for one in site["apps"])
    ]


def span(seconds: float) -> str:
    """Return a time span as one speaks of it, in its largest unit."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:  # "1 d" would be said of 47 hours
            return f"{int(seconds // length)} {unit}"
    return f"{max(0, int(seconds))} s"


def moment(text: Any) -> float:
    """Return a time of the ledger in seconds since 1970; 0 if it is none."""
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return 0


def last_deploy(seen: Mapping[str, Any], now: float) -> dict[str, Any]:
    """Return the last line of an application's ledger as it is reported; empty if there is none."""
    line = seen["deployed"]
    if not line:
        return {}
    at = line.get("finished_at") or line.get("started_at")
    return {
        "at": at,
        "seconds_ago": max(0, round(now - moment(at))) if moment(at) else None,
        "release": line.get("release", ""),
        "status": line.get("status", "succeeded"),
        "by": line.get("by", ""),
    }


def application(host: str, name: str, seen: Mapping[str, Any], now: float) -> dict[str, Any]:
    """Return one application on one host as it is reported; spans of time are in seconds."""
    ends, closed = seen["certificate"], seen["maintenance"]
    return {
        "host": host,
        "app": name,
        "release": seen["release"],
        "version": seen["version"],
        "slot": seen["slot"],
        "warm_slot": seen["warm"],
        "unit": seen["unit"],
        "unit_state": seen["state"],
        "age_seconds": max(0, round(now - seen["since"])) if seen["since"] else None,
        "health": seen["health"],
        "workers": seen["workers"],
        "last_deploy": last_deploy(seen, now),
        "certificate_days": int((ends - now) // 86_400) if ends else None,
        "certificate_renewal": seen.get("renewal", {}),
        "maintenance_seconds": max(0, round(now - closed)) if closed else None,
    }


def edge_problems(row: Mapping[str, Any], edges: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what edges on other hosts have been told about an application.

    Args:
        row: The application, as it is reported.
        edges: By edge, the result of looking at it.
    """
    name, host = row["app"], row["host"]
    for edge, look in edges.items():
        lines = str(look.get("stdout", "")).split()
        if f"/var/lib/slipway/drain/{name}/{host}" in lines:
            yield (
                f"{edge} sends it no new requests",
                f"To let it answer again: ansible-playbook playbooks/drain.yml -e host={host} -e state=off",
            )
        if f"/var/lib/slipway/maintenance/{name}/on" in lines and edge != host:
            yield (
                f"clients get the maintenance page from {edge}",
                f"To end it: ansible-playbook playbooks/maintenance.yml -e app={name} -e state=off",
            )


def problems(row: Mapping[str, Any], edge: bool) -> Iterator[Problem]:
    """Yield what is wrong with an application, the worst first.

    Args:
        row: The application, as it is reported.
        edge: Whether its host is one of the edge's.
    """
    name, host, unit = row["app"], row["host"], row["unit"]
    journal = f"On {host}: journalctl -u {unit.removesuffix('.service')} -n 50"
    health, workers, deployed = row["health"], row["workers"], row["last_deploy"]
    if not row["release"]:
        yield (
            f"{name} was never released to {host}",
            "Release it: ansible-playbook playbooks/deploy.yml",
        )
    elif row["unit_state"] != "active":
        yield (
            f"{unit} is {row['unit_state'] or 'unknown to systemd'}",
            f"{journal}. A run of playbooks/deploy.yml starts it again.",
        )
    elif health["status"] != 200:
        answer = health["status"] or health["error"] or "no answer"
        back = (
            f"playbooks/rollback.yml -e app={name} takes the release back, if it is the release's."
        )
        yield f"it answers its health path with {answer}, not 200", f"{journal}. {back}"
    if row["release"] and row["unit_state"] == "active" and workers["alive"] < workers["wanted"]:
        seen = f"{workers['alive']} of {workers['wanted']} workers are alive"
        yield seen, f"{journal}; Gunicorn says there why they end."
    if workers["restarts"]:
        times = "once" if workers["restarts"] == 1 else f"{workers['restarts']} times"
        yield f"systemd has restarted {unit} {times} since the switch", f"{journal} says why."
    if deployed.get("status") == "failed":
        seen = f"the last deploy, of {deployed['release']}, failed"
        rest = f"; {row['release']} goes on serving" if row["release"] else ""
        yield (
            f"{seen}{rest}",
            "Mend what it said, then run playbooks/deploy.yml again; it says the reason once more.",
        )
    renewal, days = row["certificate_renewal"], row["certificate_days"]
    if renewal and not renewal["ok"]:
        seen = f"its certificate could not be renewed: {renewal['said'].rstrip('.')}"
        rest = "The old one goes on being served, and it is tried twice a day. Mend it, then run site.yml"
        yield seen, f"{rest}; on {host}, /var/log/slipway-acme has more."
    if edge and days is None:
        yield "it has no certificate", "Make one: ansible-playbook site.yml"
    elif days is not None and days < CERTIFICATE_DAYS:
        seen = f"its certificate ended {-days} d ago" if days < 0 else f"its certificate ends in {days} d"  # fmt: skip
        yield seen, "Renew it: ansible-playbook site.yml"
    if row["maintenance_seconds"] is not None:
        seen = f"clients get the maintenance page, for {span(row['maintenance_seconds'])} now"
        yield (
            seen,
            f"To end it: ansible-playbook playbooks/maintenance.yml -e app={name} -e state=off",
        )


def host_problems(
    host: str, look: Mapping[str, Any], groups: Mapping[str, list[str]]
) -> Iterator[Problem]:
    """Yield what is wrong with a host, whatever it is that it runs."""
    said = " ".join(str(look.get("msg") or "").split()).rstrip(".")
    if look.get("unreachable"):
        said = re.sub(r"^.*? (via|over) ssh: ", "", said)
        yield (
            f"not reached: {said}",
            f"'make doctor' looks closer; 'ssh {host}' by hand must work first.",
        )
        return
    if "apps" not in look:
        yield (
            f"could not be asked: {said or 'its inventory has to be mended'}",
            "'make doctor' looks closer.",
        )
        return
    # Without an edge they answer by themselves; an edge on another host is looked at on its own.
    if host in groups.get("edge", []) and look["nginx"] != "active":
        seen = f"nginx is {look['nginx'] or 'not installed'}, so nothing outside reaches its applications"
        fix = "On it: systemctl status nginx" if look["nginx"] else "Run site.yml."
        yield seen, fix
    if host in groups.get("db", []) and look["postgresql"] != "active":
        state = look["postgresql"] or "not installed, or stopped"
        yield (
            f"PostgreSQL is {state}",
            "On it: systemctl status 'postgresql@*'. A run of site.yml starts it.",
        )


def lost(look: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what is wrong with an edge that has no application of its own."""
    state = re.search(r"^nginx (\S+)", str(look.get("stdout", "")))
    if not state or state[1] != "active":
        seen = f"nginx is {state[1]}" if state else "not reached"
        yield f"{seen}, so nothing outside comes through it", "On it: systemctl status nginx"


def repository(host: str, name: str, of: Mapping[str, Any], now: float) -> dict[str, Any]:
    """Return one repository of a host's backups as it is reported; spans of time are in seconds."""
    since = of.get("since")
    backup, drill, proven = of.get("backup") or {}, of.get("drill") or {}, of.get("proven")
    return {
        "host": host,
        "repository": name,
        "known_seconds": max(0, round(now - since)) if since else None,
        "backup_seconds": max(0, round(now - backup["ended"])) if backup else None,
        "backup_type": backup.get("type", ""),
        "backup_bytes": backup.get("size"),
        "backup_ok": of.get("backup_ok"),
        "backup_said": of.get("backup_said", ""),
        "proven_seconds": max(0, round(now - proven)) if proven else None,
        "drill_ok": drill.get("ok"),
        "drill_said": drill.get("said", ""),
    }


def backup_problems(
    row: Mapping[str, Any], repositories: int, wanted: Mapping[str, bool]
) -> Iterator[Problem]:
    """Yield what is wrong with a repository, as it is reported.

    Args:
        row: The repository.
        repositories: How many there are on its host.
        wanted: Whether its host is to have ``backups`` and ``drills``.
    """
    host, name = row["host"], row["repository"]
    journal = f"On {host}: journalctl -u 'slipway-backup@*' -n 50"
    again = "ansible-playbook playbooks/backup.yml tries again."
    age, proven = row["backup_seconds"], row["proven_seconds"]
    if not wanted.get("backups", True):
        return
    if row["backup_ok"] is False:
        yield (
            f"the last backup into {name} failed: {row['backup_said'].rstrip('.')}",
            f"{journal}. {again}",
        )
    elif age is None:
        yield f"there is no backup in {name} yet", f"{journal}. {again}"
    elif age > BACKUP_DAYS * 86_400:
        yield (
            f"the last backup in {name} is {span(age)} old",
            f"On {host}: systemctl list-timers 'slipway-*'. {again}",
        )
    limit = (repositories + PROVEN_DAYS) * 86_400
    timer = f"On {host}: systemctl list-timers slipway-drill.timer"
    if row["drill_ok"] is False:
        yield (
            f"the last drill did not prove {name}: {row['drill_said'].rstrip('.')}",
            f"Mend it, then: ansible-playbook playbooks/drill.yml -e repository={name}",
        )
    elif not wanted.get("drills", True):
        return
    elif proven is not None and proven > limit:
        yield f"{name} was last proven {span(proven)} ago", timer
    elif proven is None and (row["known_seconds"] or 0) > limit:
        yield f"{name} was never proven, in {span(row['known_seconds'])}", timer


def backed_up(states: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what there is to say of each host's repositories.

    Args:
        states: By host, the result of looking at what its backups have noted: the host's clock, what is wanted of it,
            and ``state.json``.
    """
    for host, look in states.items():
        clock, _, rest = str(look.get("stdout", "")).partition("\n")
        said, _, text = rest.partition("\n")
        try:
            now, wanted, known = float(clock), json.loads(said), json.loads(text)["repositories"]
        except (ValueError, KeyError):
            continue
        for name, of in known.items():
            row = repository(host, name, of, now)
            yield {**row, "problems": told(backup_problems(row, len(known), wanted))}


def kept_up(said: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield hosts that wait for security upgrades or for a reboot.

    Args:
        said: By host, the result of asking it for both.
    """
    for host, look in said.items():
        found = upkeep.read(str(look.get("stdout", "")))
        if found["security"] or found["reboot"]:
            row = {
                "host": host,
                "security": [one["name"] for one in found["security"]],
                "reboot": found["reboot"],
            }
            yield {**row, "problems": told(upkeep_problems(row, found))}


def upkeep_problems(row: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what a host waits for, and what to do about it."""
    database = {one["name"] for one in found["database"]} & set(row["security"])
    if others := [name for name in row["security"] if name not in database]:
        yield (
            f"security upgrades wait: {upkeep.listed(others)}",
            f"They come by themselves in a day; at once: ansible-playbook playbooks/patch.yml --limit {row['host']}",
        )
    if database:
        fix = f"When a restart suits: ansible-playbook playbooks/upgrade_database.yml --limit {row['host']}"
        yield "a security upgrade of PostgreSQL waits", fix
    if row["reboot"]:
        yield (
            f"it needs a reboot, for {upkeep.listed(row['reboot'])}",
            f"When it suits: ansible-playbook playbooks/patch.yml --limit {row['host']}",
        )


def told(found: Iterator[Problem]) -> list[dict[str, str]]:
    """Return problems as they are reported."""
    return [{"seen": seen, "next": fix} for seen, fix in found]


def report(
    looks: Mapping[str, Mapping[str, Any]],
    groups: Mapping[str, list[str]],
    edges: Mapping[str, Any] | None = None,
    states: Mapping[str, Any] | None = None,
    upgrades: Mapping[str, Any] | None = None,
) -> dict[str, list[dict[str, Any]]]:
    """Return all that there is to say, for people and for machines: hosts, applications and backups, with problems.

    Args:
        looks: By host, the result of the module ``status_info``, or of the failure to run it.
        groups: The inventory's groups.
        edges: By edge, the result of looking at what it is told to do: ``nginx active``, and paths.
        states: By host with a database, the result of looking at what its backups have noted.
        upgrades: By host, the result of asking for pending upgrades and a needed reboot.
    """
    hosts, applications = [], []
    for host, look in (edges or {}).items():
        if host not in looks:
            hosts.append({"host": host, "problems": told(lost(look))})
    for host, look in looks.items():
        hosts.append({"host": host, "problems": told(host_problems(host, look, groups))})
        for name, seen in look.get("apps", {}).items():
            row = application(host, name, seen, look["now"])
            found = told(problems(row, host in groups.get("edge", [])))
            found += told(edge_problems(row, edges or {}))
            applications.append({**row, "problems": found})
    backups = list(backed_up(states or {}))
    return {
        "hosts": hosts,
        "applications": applications,
        "backups": backups,
        "upkeep": list(kept_up(upgrades or {})),
    }


def cells(row: Mapping[str, Any]) -> dict[str, str]:
    """Return an application's line of the table; what isn't as it should be is in capitals."""
    health, workers, deployed = row["health"], row["workers"], row["last_deploy"]
    healthy = f"{health['status']}, {health['milliseconds']:.0f} ms"
    ill = str(health["status"] or "NO ANSWER") if row["slot"] else "-"
    ago, days = deployed.get("seconds_ago"), row["certificate_days"]
    status = deployed.get("status", "").replace("_", " ")
    outcome = status.upper() if status == "failed" else status
    who = f", {deployed['by']}" if deployed.get("by") else ""
    version = f" ({row['version']})" if row["version"] else ""
    closed = row["maintenance_seconds"]
    return {
        "host": row["host"],
        "app": row["app"],
        "release": f"{row['release']}{version}" if row["release"] else "NONE",
        "slot": f"{row['slot']}, {row['warm_slot']} warm"
        if row["warm_slot"]
        else row["slot"] or "-",
        "age": "-" if row["age_seconds"] is None else span(row["age_seconds"]),
        "health": healthy if health["status"] == 200 else ill,
        "workers": f"{workers['alive']}/{workers['wanted']}" if row["slot"] else "-",
        "deployed": f"{outcome} {span(ago)} ago{who}" if ago is not None else "-",
        "certificate": "-" if days is None else f"{days} d" if days >= 0 else "ENDED",
        "maintenance": "off" if closed is None else "ON",
    }


def stored(row: Mapping[str, Any]) -> dict[str, str]:
    """Return a repository's line of the table."""
    age, proven = row["backup_seconds"], row["proven_seconds"]
    return {
        "host": row["host"],
        "repository": row["repository"],
        "backup": "NONE" if age is None else f"{row['backup_type']}, {span(age)} ago",
        "size": "-" if row["backup_bytes"] is None else f"{row['backup_bytes'] / 1e6:.0f} MB",
        "proven": "FAILED"
        if row["drill_ok"] is False
        else "never"
        if proven is None
        else f"{span(proven)} ago",
    }


def table(said: Mapping[str, list[dict[str, Any]]]) -> str:
    """Return a report as a text: a line for each application, and below it what is wrong and what to do next."""
    wrapped = textwrap.TextWrapper(WIDTH - 8, break_on_hyphens=False, break_long_words=False)

    def explained(problems: list[dict[str, str]]) -> Iterator[str]:
        for problem in problems:
            yield from (f"    {line}" for line in wrapped.wrap(f"{problem['seen']}."))
            first, *more = wrapped.wrap(problem["next"])
            yield f"    -> {first}"
            yield from (f"       {line}" for line in more)

    rows = [cells(row) for row in said["applications"]]
    widths = {key: max(len(row[key]) for row in [HEAD, *rows]) for key in HEAD}
    lines = []
    if rows:
        for cell, row in zip([HEAD, *rows], [None, *said["applications"]], strict=True):
            line = "  ".join(cell[key].ljust(width) for key, width in widths.items())
            lines.append(line.rstrip())
            lines += explained(row["problems"]) if row else []
    kept = [stored(row) for row in said.get("backups", [])]
    if kept:
        wide = {key: max(len(row[key]) for row in [STORED, *kept]) for key in STORED}
        lines.append("")
        for cell, row in zip([STORED, *kept], [None, *said["backups"]], strict=True):
            lines.append("  ".join(cell[key].ljust(width) for key, width in wide.items()).rstrip())
            lines += explained(row["problems"]) if row else []
    wrong: dict[str, list[dict[str, str]]] = {}
    for host in [*said["hosts"], *said.get("upkeep", [])]:
        wrong.setdefault(host["host"], []).extend(host["problems"])
    for name, problems in wrong.items():
        if problems:
            lines += ["", name, *explained(problems)]
    if not rows and not any(host["problems"] for host in said["hosts"]):
        fix = "'make new APP=<name> SOURCE=<where its source is>' writes the entry of one."
        lines.append(f"There is no application. {fix}")
    return "\n".join(lines).lstrip("\n")


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by the name that templates use."""
        return {
            "slipway_status": report,
            "slipway_status_asked": asked,
            "slipway_status_table": table,
        }
