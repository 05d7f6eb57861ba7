"""Filters that turn what `make doctor` has seen into a table: what is well, what isn't, and the fix."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

PASS, WARN, FAIL = "pass", "WARN", "FAIL"
DEBIAN = {"12": "3.11", "13": "3.13"}
ROLES = ("baseline", "certificates", "fastapi_app", "nginx", "postgresql")
# Of an application, what only its processes need: without it the release can be built all the same.
SETTINGS = re.compile(r"apps\.[^.]+\.(env|secrets|database\.password)\b")
UNSET = "define it, such as in a vault"

CLOCK_SECONDS = 5  # a look takes a second or two to get there
CERTIFICATE_DAYS = 14
MEMORY_MB = 256
WIDTH = 92  # Ansible indents it by eight


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        where: A host, an application, or the inventory.
        check: What was looked at.
        verdict: ``pass``, ``WARN`` or ``FAIL``.
        seen: What was seen.
        fix: What to do about it.
    """

    where: str
    check: str
    verdict: str
    seen: str
    fix: str = ""


@dataclass(frozen=True)
class Look:
    """What a host says of itself: lines of a key and values, as the script in playbooks/doctor.yml prints them."""

    lines: list[list[str]]

    @classmethod
    def at(cls, result: Mapping[str, Any]) -> Look:
        """Read the result of the task that has asked."""
        return cls([line.split() for line in str(result.get("stdout", "")).splitlines()])

    def all(self, key: str) -> list[list[str]]:
        """Return the values of each line of a key."""
        return [values for first, *values in filter(None, self.lines) if first == key]

    def one(self, key: str, count: int) -> list[str]:
        """Return the values of the first line of a key, as many as are asked for, empty where there are none."""
        return [*(self.all(key) or [[]])[0], *[""] * count][:count]


def readable_apps(apps: Any) -> dict[str, Any]:
    """Return the inventory's ``apps`` with what can't be read left open, and a message for each such place.

    A variable that nobody has defined, such as one of a vault that isn't there yet, would else hide all that is wrong
    besides.
    """
    messages: list[str] = []

    def read(value: Any, where: str) -> Any:
        if isinstance(value, Mapping):
            return {key: at(value, key, f"{where}.{key}") for key in value}
        if isinstance(value, list | tuple):
            return [at(value, number, f"{where}[{number}]") for number in range(len(value))]
        return value

    def at(container: Any, key: Any, where: str) -> Any:
        try:
            return read(container[key], where)
        except Exception as error:  # Ansible's own, of several kinds
            text = re.sub(r"^A captured exception marker was tripped: ", "", str(error))
            messages.append(f"{where}: {text}; {UNSET}")
            return "left-open-for-want-of-a-value"

    return {"apps": read(apps, "apps"), "errors": messages}


def sound(apps: Any, errors: list[str]) -> dict[str, Any]:
    """Return the applications that can be built: nothing is wrong with them but that settings can't be read."""
    unset = [error for error in errors if SETTINGS.match(error) and error.endswith(UNSET)]
    wrong = {name for error in errors if error not in unset for name in named(error)}
    if not isinstance(apps, Mapping) or any(error.startswith("apps:") for error in errors):
        return {}
    return {name: app for name, app in apps.items() if name not in wrong}


def named(message: str) -> list[str]:
    """Return the applications that a message is about."""
    return re.findall(r"\bapps\.([^.:,\s]+)", message)


# --- The inventory ---------------------------------------------------------------------------


def group_rows(groups: Mapping[str, list[str]]) -> Iterator[Row]:
    """Yield whether the groups have the hosts that a run needs."""
    wanted = {name: sorted(groups.get(name, [])) for name in ("edge", "app", "db")}
    seen = "; ".join(f"{name}: {', '.join(hosts) or 'none'}" for name, hosts in wanted.items())
    if not wanted["app"]:
        fix = "Put the host into edge, app and db; inventories/single/hosts.yml shows how. Name the inventory with -i."
        yield Row("inventory", "groups", FAIL, "no host in app", fix)
    elif not wanted["edge"]:
        fix = "Applications answer on their ports then, without TLS. If that isn't meant, put a host into edge."
        yield Row("inventory", "groups", WARN, seen, fix)
    elif len({tuple(hosts) for hosts in wanted.values()}) > 1:
        # What can't be is refused with the application that it is about (plugins/filter/servers.py).
        yield Row("inventory", "groups", PASS, seen)
    else:
        yield Row("inventory", "groups", PASS, f"edge, app and db: {', '.join(wanted['app'])}")


def inventory_rows(host: str, found: Mapping[str, Any]) -> Iterator[Row]:
    """Yield what is wrong with the applications' entries and the roles' options."""
    for error in found["errors"]:
        seen, _, fix = error.partition("; ")
        where = next(iter(named(error)), "inventory")
        yield Row(where, "inventory", FAIL, seen.removeprefix(f"apps.{where}."), sentence(fix))
    for unknown in found["unknown"]:
        seen, _, fix = unknown.partition(": ")
        yield Row(host, "options", FAIL, f"no role has {seen}", sentence(fix))
    for name in found["domains"]:
        if not any(name in named(error) for error in found["errors"]):
            yield Row(name, "inventory", PASS, "nothing is wrong with its entry")


def sentence(text: str) -> str:
    """Return a fix as a sentence."""
    return text[:1].upper() + text[1:] + ("" if not text or text.endswith(("?", ".")) else ".")


# --- Hosts -----------------------------------------------------------------------------------


def host_rows(host: str, found: Mapping[str, Any]) -> Iterator[Row]:
    """Yield what a host is, as it says itself and as it looks from here."""
    result, user, address = found["look"], found["user"], found["address"]
    if result.get("unreachable") or not result.get("stdout"):
        said = " ".join(str(result.get("msg") or result.get("stderr") or "no answer").split())
        fix = f"'ssh {user}@{address}' by hand must work first: mend ansible_host, ansible_user or the key."
        yield Row(
            host,
            "SSH",
            FAIL,
            re.sub(r"^(Task failed: )?(Failed to connect to the host via ssh: )?", "", said),
            fix,
        )
        return
    look = Look.at(result)
    name, number, *member = look.one("user", 40)
    yield Row(host, "SSH", PASS, f"as {name}, at {' '.join(look.one('address', 1)) or address}")
    if number != "0":
        yield sudo_row(host, name, " ".join(look.one("root", 40)).strip(), "sudo" in member)
    yield from system_rows(host, look)
    yield from resource_rows(host, look, found["disk_mb"])
    yield from clock_rows(host, look)
    yield from port_rows(host, look, found)


def sudo_row(host: str, user: str, said: str, member: bool) -> Row:
    """Return whether a user becomes root."""
    if said == "yes":
        return Row(host, "sudo", PASS, f"{user} becomes root without a password")
    without = "let it become root without a password, or set ansible_user to root"
    if "password" in said and member:
        fix = f"Add --ask-become-pass to each run, or {without}."
        return Row(host, "sudo", WARN, f"{user} is asked for a password", fix)
    fix = f"Put {user} into the group sudo, and {without}."
    return Row(host, "sudo", FAIL, f"{user} can't become root: {said or 'there is no answer'}", fix)


def system_rows(host: str, look: Look) -> Iterator[Row]:
    """Yield distribution and Python."""
    distribution, version, machine, init = look.one("system", 4)
    seen = f"{distribution.title()} {version}, {machine}"
    if distribution != "debian" or version not in DEBIAN:
        fix = "Slipway runs on Debian 12 and 13: put one of them on the host, or take it out of the inventory."
        yield Row(host, "system", FAIL, seen, fix)
    elif init != "systemd":
        fix = "Applications are services of systemd: boot the host with it."
        yield Row(
            host, "system", FAIL, f"{seen}, but its first process is {init or 'unknown'}", fix
        )
    else:
        yield Row(host, "system", PASS, seen)
    python, _, glibc = look.one("python", 3)
    if not python:
        fix = "'apt-get install python3' there: Ansible works by it, and applications run on it."
        yield Row(host, "Python", FAIL, "no /usr/bin/python3", fix)
    elif not python.startswith(f"{DEBIAN.get(version, '3')}."):
        fix = "Put Debian's own Python back: 'apt-get install --reinstall python3-minimal'."
        yield Row(host, "Python", FAIL, f"/usr/bin/python3 is {python}, which isn't Debian's", fix)
    else:
        yield Row(host, "Python", PASS, f"{python}, glibc {glibc}")


def resource_rows(host: str, look: Look, disk_mb: int) -> Iterator[Row]:
    """Yield disk and memory."""
    free = {path: int(size) for size, path in look.all("disk")}
    for path, size in free.items():
        seen = f"{size / 1024:.1f} GiB free on {path}"
        if size < disk_mb:
            fix = f"Make room or grow the disk: a run wants {disk_mb} MiB there (baseline_disk_free_min_mb)."
            yield Row(host, "disk", FAIL, seen, fix)
        elif size < 2 * disk_mb:
            fix = "Each release takes some: make room, or lower fastapi_app_keep_releases."
            yield Row(host, "disk", WARN, seen, fix)
        else:
            yield Row(host, "disk", PASS, seen)
    memory = {name: int(size) // 1024 for name, size in look.all("memory")}
    available = memory.get("MemAvailable", 0)
    seen = f"{available} MiB of {memory.get('MemTotal', 0)} MiB available"
    if available < MEMORY_MB:
        fix = "Two releases run side by side during a switch: give the host more, or set workers of its applications."
        yield Row(host, "memory", WARN, seen, fix)
    else:
        yield Row(host, "memory", PASS, seen)


def clock_rows(host: str, look: Look) -> Iterator[Row]:
    """Yield whether a host's clock is right, and stays so."""
    offset, container = look.one("clock", 2)
    off = int(offset or 0)
    fix = "'apt-get install systemd-timesyncd' there keeps it right; certificates and tokens go by it."
    if abs(off) > CLOCK_SECONDS:
        ahead = "ahead of" if off > 0 else "behind"
        yield Row(host, "clock", FAIL, f"{abs(off)} s {ahead} this machine's", sentence(fix))
    elif container not in ("none", ""):
        yield Row(host, "clock", PASS, "like this machine's; a container has its host's")
    elif look.one("synchronised", 1) != ["yes"]:
        yield Row(
            host, "clock", WARN, "like this machine's now, but nothing keeps it so", sentence(fix)
        )
    else:
        yield Row(host, "clock", PASS, "like this machine's, and synchronised")


def port_rows(host: str, look: Look, found: Mapping[str, Any]) -> Iterator[Row]:
    """Yield who has the ports that are needed, and whether they are reached from here."""
    holders: dict[int, str] = {}
    for values in look.all("listen"):
        if port := re.search(r":(\d+)$", values[3] if len(values) > 3 else ""):
            program = re.search(r'\(\("([^"]+)",pid=(\d+)', " ".join(values))
            holders[int(port[1])] = f"{program[1]} (process {program[2]})" if program else "unknown"
    ours = {path for (path,) in look.all("ours")}
    reached = found["reach"].get("ports", {})
    for option, port in found["ports"].items():
        check, holder, way = f"port {port}", holders.get(port, ""), reached.get(str(port), "")
        own = "postgres" if option == "postgresql" else "nginx"
        # Without root a host doesn't say whose a port is; what Slipway has set up there is its own, most likely.
        unknown = holder == "unknown" and any(own in path for path in ours)
        mine = holder.startswith(f"{own} ") or unknown
        if own == "postgres" and mine and not any("postgresql" in path for path in ours):
            fix = "Give that cluster another port with pg_renamecluster and its postgresql.conf, or drop it."
            yield Row(
                host, check, FAIL, f"held by a PostgreSQL that Slipway hasn't set up: {holder}", fix
            )
        elif holder and not mine:
            who = "another program" if holder == "unknown" else holder
            other = (
                "move it to another port"
                if own == "postgres"
                else f"set {option} to a port that is free"
            )
            yield Row(host, check, FAIL, f"held by {who}", f"Stop and disable it, or {other}.")
        elif own == "postgres" and way == "open":
            fix = "Applications don't need that: drop listen_addresses from postgresql_settings, or close the port."
            yield Row(host, check, WARN, f"{holder or 'something'} answers from outside", fix)
        elif own == "nginx" and way == "silent":
            seen = f"{'held by ' + holder if holder else 'free'}, but nothing comes back from there"
            yield Row(
                host,
                check,
                WARN,
                seen,
                f"If clients come the same way, open port {port} in the firewalls before it.",
            )
        elif own == "nginx" and holder and way == "refused":
            seen = f"held by {holder}, and refused from outside"
            yield Row(
                host,
                check,
                WARN,
                seen,
                f"If clients come the same way, open port {port} in the host's firewall.",
            )
        else:
            way = ", and reached from here" if own == "nginx" and way else ""
            yield Row(host, check, PASS, f"{'held by ' + holder if holder else 'free'}{way}")


# --- Applications ----------------------------------------------------------------------------


def name_rows(found: Mapping[str, Mapping[str, Any]]) -> Iterator[Row]:
    """Yield where the applications' names lead, which is to one of the hosts that are their edge."""
    edges = {host: of for host, of in found.items() if of["reach"].get("certificates")}
    here = {
        address: host
        for host, of in edges.items()
        for address in of["reach"]["addresses"].get(of["reach"]["address"], [])
    }
    wanted = " or ".join(f"{host} ({address})" for address, host in here.items()) or "its host"
    owners: dict[str, str] = {}  # several applications on one domain are one site
    leads: dict[str, set[str]] = {}
    for of in edges.values():
        for app, domains in of["domains"].items():
            for name in domains:
                owners.setdefault(name, app)
                leads.setdefault(name, set()).update(of["reach"]["addresses"].get(name, []))
    for name, app in owners.items():
        seen = f"{name} leads {'to ' if leads[name] else 'nowhere'}{', '.join(sorted(leads[name]))}"
        if name == "localhost" or name.endswith(".localhost"):
            yield Row(app, "DNS", PASS, f"{name} is always the machine that asks")
        elif not leads[name]:
            yield Row(app, "DNS", WARN, seen, f"Make a record for it that leads to {wanted}.")
        elif not leads[name] & here.keys():
            fix = f"Is that right, as it may be with a proxy before {wanted}? Otherwise change its record."
            yield Row(app, "DNS", WARN, seen, fix)
        else:
            yield Row(app, "DNS", PASS, seen)


def certificate_rows(host: str, found: Mapping[str, Any]) -> Iterator[Row]:
    """Yield with what certificate a host answers to the applications' names."""
    port = found["ports"].get("nginx_https_port")
    for app, domains in found["domains"].items():
        served = {name: found["reach"].get("certificates", {}).get(name) for name in domains}
        if none := [name for name, shown in served.items() if shown and "days" not in shown]:
            seen = f"none for {', '.join(none)} on port {port} of {host} yet"
            yield Row(app, "certificate", WARN, seen, "A run of site.yml makes it.")
        for name, shown in served.items():
            if shown and "days" in shown:
                yield certificate_row(app, name, shown, host)


def certificate_row(app: str, name: str, shown: Mapping[str, Any], host: str) -> Row:
    """Return what there is to say of a certificate."""
    days, anew = shown["days"], "A run of site.yml makes a new one."
    if days < 0:
        return Row(app, "certificate", FAIL, f"that for {name} ended {-days} days ago", anew)
    if not fits(name, shown["names"]):
        of = ", ".join(shown["names"]) or "nothing"
        seen = f"{host} answers {name} with one for {of}"
        return Row(app, "certificate", WARN, seen, "A run of site.yml makes one for it.")
    seen = f"for {name}, {days} days left, by {shown['issuer']}"
    if days < CERTIFICATE_DAYS:
        return Row(app, "certificate", WARN, seen, anew)
    if shown["problem"]:
        fix = "Whoever is to trust it must trust that authority; certificates_ca_fetch_to has a copy put here."
        return Row(app, "certificate", WARN, f"{seen}: {shown['problem']}", fix)
    return Row(app, "certificate", PASS, seen)


def fits(name: str, names: list[str]) -> bool:
    """Tell whether a certificate is for a name."""
    return name in names or f"*.{name.partition('.')[2]}" in names


def maintenance_rows(host: str, found: Mapping[str, Any]) -> Iterator[Row]:
    """Yield which applications a host's edge answers for with the maintenance page."""
    closed = {path.split("/")[-2] for (path,) in Look.at(found["look"]).all("closed")}
    for app in found["domains"]:
        if app in closed:
            fix = f"'ansible-playbook playbooks/maintenance.yml -e app={app} -e state=off' ends it."
            yield Row(app, "maintenance", WARN, f"on: its clients get a page from {host}", fix)


def build_rows(found: Mapping[str, Any]) -> Iterator[Row]:
    """Yield whether each release can be built for a host."""
    for build in found["builds"]:
        app = build["item"]
        if "id" not in build:
            yield Row(app, "release", FAIL, str(build.get("msg", "")).removeprefix(f"apps.{app}."))
            continue
        kit = f"; from the kit: {', '.join(build['server'])}" if build["server"] else ""
        yield Row(app, "release", PASS, f"{build['id']} for {build['target']}{kit}")


def import_rows(found: Mapping[str, Any]) -> Iterator[Row]:
    """Yield whether each application can be imported."""
    for trial in found["imports"]:
        app, seen = trial["item"]["item"], str(trial["said"])
        match trial["outcome"]:
            case "imported":
                yield Row(app, "import", PASS, f"with its settings, {seen}")
            case "failed":
                yield Row(
                    app,
                    "import",
                    FAIL,
                    seen,
                    "It would say so on the host, too: mend it.",
                )
            case "impossible":
                fix = "Nothing to do: a release is imported on the host, before the switch."
                yield Row(app, "import", WARN, f"not tried, {seen}", fix)
            case _:
                fix = "Nothing to do if the host has what is missing here: it is imported there before the switch."
                yield Row(app, "import", WARN, seen, fix)


# --- The table -------------------------------------------------------------------------------


def gathered(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Return what playbooks/doctor.yml has left in a host's variables."""
    left = {
        name: variables.get(f"__{name}") or {}
        for name in (
            "doctor",
            "doctor_look",
            "doctor_reach",
            "doctor_imports",
            "fastapi_app_builds",
        )
    }
    reached = not left["doctor_look"].get("unreachable")
    return {
        **left["doctor"],
        "look": left["doctor_look"],
        "reach": left["doctor_reach"] if reached and "addresses" in left["doctor_reach"] else {},
        "builds": left["fastapi_app_builds"].get("results", []),
        # One that was skipped has no outcome.
        "imports": [one for one in left["doctor_imports"].get("results", []) if "outcome" in one],
    }


def diagnosis(
    hosts: Mapping[str, Mapping[str, Any]], groups: Mapping[str, list[str]]
) -> list[dict[str, str]]:
    """Return a row for each thing that was looked at: where, check, verdict, seen, fix.

    Args:
        hosts: The variables of each host, after playbooks/doctor.yml has looked at it.
        groups: The inventory's groups.
    """
    found = {host: gathered(of) for host, of in hosts.items() if "__doctor" in of}
    rows = [*group_rows(groups)]
    for host, of in hosts.items():
        if "__doctor_look" in of and host not in found:  # a host beyond --limit has neither
            fix = "Mend what the error above names."
            rows.append(Row(host, "inventory", FAIL, "its variables can't be read", fix))
    for host, of in found.items():
        rows += host_rows(host, of)
    for host, of in found.items():
        rows += inventory_rows(host, of)
    if not any(of["domains"] or of["errors"] for of in found.values()):
        fix = "'make new APP=<name> SOURCE=<where its source is>' writes the entry of one."
        rows.append(Row("inventory", "apps", WARN, "it has no application", fix))
    rows += name_rows(found)
    for host, of in found.items():
        rows += certificate_rows(host, of)
        rows += maintenance_rows(host, of)
    for of in found.values():
        rows += build_rows(of)
    for of in found.values():
        rows += import_rows(of)
    # What several hosts say of an application is said once, and all of a host or an application together.
    order = list(dict.fromkeys(row.where for row in rows))
    return [
        asdict(row) for row in sorted(dict.fromkeys(rows), key=lambda row: order.index(row.where))
    ]


def table(rows: list[dict[str, str]]) -> str:
    """Return rows as a text: grouped by where, what isn't well with its fix below."""
    first, second = (max(len(row[key]) for row in rows) + 2 for key in ("where", "check"))
    before = " " * (first + second + 6)
    wrapped = textwrap.TextWrapper(WIDTH - len(before) - 3, break_on_hyphens=False)
    lines: list[str] = []
    last = ""
    for row in rows:
        where = row["where"] if row["where"] != last else ""
        if where and last:
            lines.append("")
        last = row["where"]
        seen, *more = wrapped.wrap(row["seen"]) or [""]
        fix = [f"   {line}" for line in wrapped.wrap(row["fix"])]
        fix[:1] = [f"-> {line.strip()}" for line in fix[:1]]
        lines.append(f"{where:<{first}}{row['check']:<{second}}{row['verdict']:<6}{seen}".rstrip())
        lines += [before + line for line in (*more, *fix)]
    return "\n".join(lines)


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by the name that templates use."""
        return {
            "slipway_doctor": diagnosis,
            "slipway_doctor_readable": readable_apps,
            "slipway_doctor_sound": sound,
            "slipway_doctor_table": table,
        }
