"""Restores that a person asks for: into a scratch server beside the live one, or over the live one."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from server import Live, Restored, emptied, facts, limits, room, scratch
from stanza import Backup, Failed, Repository, Stanza, lsn, run, size
from targets import Point, Target, bring, choose, fetch, moment, points, resolve

UNIT = "slipway-scratch.service"
PRIVATE = Path("/run/slipway-restore")
UNITS = Path("/etc/systemd/system")
WAL = 200_000_000  # bytes that a restored server takes beside its data


@dataclass(frozen=True)
class Plan:
    """What a restore is going to do."""

    stanza: Stanza
    target: Target
    repository: Repository
    backup: Backup

    def told(self) -> dict[str, Any]:
        """Return it as playbooks show it."""
        backup = self.backup
        return {
            "stanza": self.stanza.name,
            "target": self.target.words,
            "repository": self.repository.name,
            "backup": backup["label"],
            "type": backup["type"],
            "ended": moment(backup["timestamp"]["stop"]),
            "size": size(backup["info"]["size"]),
        }


def plan(stanza: Stanza, to: str, name: str, root: Path) -> Plan:
    """Return what a restore would do: the first repository that can do it is taken, unless one is named.

    Raises:
        Failed: It can't be done; the message says why, for each repository.
    """
    target = resolve(to, points(root), datetime.now(UTC))
    reasons = []
    for repository in [stanza.repository(name)] if name else stanza.repositories:
        try:
            backup = choose(stanza, repository, stanza.look(repository), target)
        except Failed as error:
            reasons.append(str(error))
            continue
        return Plan(stanza, target, repository, backup)
    raise Failed("; ".join(reasons))


def beside(plan: Plan) -> dict[str, Any]:
    """Restore into a scratch server, which goes on running, and return what came of it."""
    live, stanza = Live(plan.stanza), plan.stanza
    try:
        settled(plan, live)
    except Failed:
        # What is older is there, whatever keeps the latest from being archived.
        if plan.target.kind == "default":
            raise
    remove(stanza)
    room(stanza.scratch, plan.backup["info"]["size"] + WAL, "a restore")
    folder = stanza.scratch / "restored"
    began = time.monotonic()
    emptied(folder)
    server = scratch(live, folder)
    try:
        bring(stanza, plan.repository, plan.backup, server, plan.target)
        recover(server)
        found = facts(server)
    except BaseException:
        with suppress(Failed):
            server.stop()
        emptied(folder)
        raise
    server.stop()
    options = [
        word for key, value in server.settings({}).items() for word in ("-c", f"{key}={value}")
    ]
    run(
        *("systemd-run", "--quiet", "--collect", f"--unit={UNIT}", "--uid=postgres"),
        *(
            f"--property={one}"
            for one in ("PrivateNetwork=yes", "KillMode=mixed", "KillSignal=SIGINT")
        ),
        "--description=A database that was restored beside the live one",
        *(str(live.bin / "postgres"), "-D", str(server.data), *options),
        root=True,
    )
    wait(lambda: bool(server.query("SELECT 1")), "the scratch server")
    return {**found, **measured(plan, began), "socket": str(folder)}


def remove(stanza: Stanza) -> bool:
    """Drop the scratch server, and tell whether there was one."""
    run("systemctl", "stop", UNIT, root=True, ok=(0, 5))
    folder = stanza.scratch / "restored"
    there = folder.exists()
    if there:
        shutil.rmtree(folder)
    return there


def recover(server: Restored) -> None:
    """Start a server that was restored, and wait until its recovery is over."""
    server.start()
    server.until("NOT pg_is_in_recovery()")


def wait(answers: Any, what: str, patience: float = 300) -> None:
    """Wait until something answers.

    Raises:
        Failed: It doesn't.
    """
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        with suppress(Failed):
            if answers():
                return
        time.sleep(0.2)
    raise Failed(f"{what} doesn't answer")


def measured(plan: Plan, began: float) -> dict[str, Any]:
    """Return how long a restore took, for what the backup holds."""
    seconds, data = time.monotonic() - began, plan.backup["info"]["size"]
    return {"seconds": round(seconds, 1), "seconds_per_gb": round(seconds / (data / 1e9), 1)}


def units(apps: Iterable[str]) -> dict[str, str]:
    """Return the units of applications that run, each with the application."""
    owners = {}
    for path in (*UNITS.glob("*@*.service"), *UNITS.glob("*@*.timer")):
        if found := re.search(r"(?m)^X-Slipway-App=(.+)$", path.read_text(errors="replace")):
            owners[path.name] = found[1]
    said = run(
        "systemctl", "list-units", "--plain", "--no-legend", "--state=active,activating", root=True
    )
    running = [line.split()[0] for line in said.stdout.splitlines()]
    return {unit: owners[unit] for unit in running if owners.get(unit) in set(apps)}


def over(
    plan: Plan, apps: Iterable[str], leave: list[str], keep: bool, root: Path
) -> dict[str, Any]:
    """Restore over the live server, and return what came of it. If it fails, what was kept aside is put back.

    Args:
        plan: What is to be restored.
        apps: Applications, whose units are stopped for the time.
        leave: Those of them that are not started again here, unless it fails.
        keep: Whether what there is is kept aside until the restored server is up.
        root: The folder of the applications' releases.

    Raises:
        Failed: It could not be restored; a note says what is there now.
    """
    live, began, stopped = Live(plan.stanza), time.monotonic(), units(apps)
    data = Data(live, keep)
    try:
        systemctl("stop", *stopped)
        reached = settled_or_stopped(plan, live)
        if not data.sound:  # a server without its files would wait until it looks for them
            with suppress(Failed):
                systemctl("kill", "--signal=SIGQUIT", live.service)
        systemctl("stop", live.service)
        data.put_aside(plan.backup["info"]["size"])
        found = replace(plan, live, data.sound)
        if plan.target.kind == "default" and lsn(found["lsn"]) < lsn(reached):
            raise Failed(f"what came back ends at {found['lsn']}; the server had come to {reached}")
        systemctl("start", live.service)
        wait(lambda: live.answers, "the restored server")
    except BaseException as error:
        error.add_note(undo(live, data, stopped))
        raise
    took = measured(plan, began)
    said: dict[str, Any] = {"stopped": list(stopped)}
    said["not_started"] = started(unit for unit, app in stopped.items() if app not in leave)
    try:
        said["to_migrate"] = forget(points(root), found["lsn"], root)
        # The next restore begins with what is there now. A host that is not set up yet archives nothing of it.
        said["backed_up"] = "pgbackrest" in live.query("SHOW archive_command")
        if said["backed_up"]:
            systemctl("start", "--no-block", "slipway-backup@incr.service")
        data.forget()
    except (Failed, OSError) as error:
        error.add_note("What was restored is live all the same.")
        raise
    return {**found, **took, **said}


def settled(plan: Plan, live: Live) -> str:
    """Have all that is committed archived, so that it stays restorable, and return the position that this is.

    It is 0/0 where nothing can be: by a server that is gone, or by another one than that of the backups.
    """
    if not live.answers:
        return "0/0"
    _, known = plan.stanza.info(plan.repository)
    ours = live.query("SELECT system_identifier FROM pg_control_system()")
    return live.settle() if str(known["db"][-1]["system-id"]) == ours else "0/0"


def settled_or_stopped(plan: Plan, live: Live) -> str:
    """Return what ``settled`` does.

    Raises:
        Failed: It can't be archived; the message says how to do without.
    """
    try:
        return settled(plan, live)
    except Failed as error:
        raise Failed(
            f"{error}. What is not archived is lost by a restore over it. If that may be, stop the server first: "
            f"systemctl stop {live.service}"
        ) from error


def undo(live: Live, data: Data, stopped: Iterable[str]) -> str:
    """Have what there was serve again, as far as it was kept, and return what is there now."""
    if data.done:
        with suppress(Failed):
            systemctl("stop", live.service)
    try:
        said = data.put_back()
    except OSError as error:
        said = f"What there was is in {data.aside}, and could not be put back: {error}."
    if data.done != "given up":  # then nobody knows what it would serve
        with suppress(Failed):
            systemctl("start", live.service)
    if failed := started(stopped):
        said += f" Not all of what was stopped has started again: {failed}"
    return said


def started(wanted: Iterable[str]) -> str:
    """Start units, and return what systemd says of those that it could not start; empty if it could."""
    try:
        systemctl("start", *wanted)
    except Failed as error:
        return str(error)
    return ""


def replace(plan: Plan, live: Live, sound: bool) -> dict[str, Any]:
    """Restore in the place of the live data and recover it, where nobody else gets in, and return what it is."""
    own = {
        "config_file": f"{live.config}/postgresql.conf",
        "external_pid_file": "",
        # A backup on the timeline that begins here needs its history, though the live server archives nothing yet.
        "archive_command": f"pgbackrest --stanza={plan.stanza.name} archive-push %p",
    }
    server = Restored(live, live.data, PRIVATE, own)
    PRIVATE.mkdir(mode=0o700, exist_ok=True)
    shutil.chown(PRIVATE, "postgres", "postgres")
    delta = ("--delta",) if sound else ()
    try:
        fetch(plan.stanza, plan.repository, plan.backup, *delta, *plan.target.options("promote"))
        server.own |= limits(live, live.data)
        recover(server)
        return facts(server)
    finally:
        server.stop()


def systemctl(verb: str, *words: str) -> None:
    """Have systemd do something with units; nothing where there are none."""
    if words:
        run("systemctl", verb, *words, root=True)


class Data:
    """The live server's data while something else is restored in its place.

    Attributes:
        done: What was done with it: nothing yet, ``copying``, ``copied``, ``moved``, or ``given up``.
    """

    def __init__(self, live: Live, keep: bool) -> None:
        self.data, self.keep = live.data, keep
        self.aside = live.data.with_name(f"{live.data.name}.slipway-aside")
        self.sound = all(
            (self.data / name).exists() for name in ("PG_VERSION", "global/pg_control")
        )
        self.done = ""

    def put_aside(self, wanted: float) -> None:
        """Keep a copy, if it is whole, since it is what is restored over; or move away what is left of it.

        Raises:
            Failed: There is no room for that, or it has parts elsewhere.
        """
        if self.aside.exists():
            raise Failed(
                f"{self.aside} is there, from a restore that was cut off: it is what there was before that. Move it to "
                f"{self.data} if that doesn't start, or else away"
            )
        if self.keep and self.data.is_mount():
            raise Failed(
                f"{self.data} is where a disk is mounted, and can't be kept aside; -e aside=false does without"
            )
        if not self.sound:
            there = self.data.exists()
            if there and self.keep:
                self.data.rename(self.aside)
            elif there:
                run("find", str(self.data), "-mindepth", "1", "-delete", root=True)
            self.done = "moved" if there and self.keep else "given up"
            run("mkdir", "--parents", "--mode=0700", str(self.data))
            room(self.data, wanted + WAL, "a restore")
            return
        (self.data / "postmaster.pid").unlink(missing_ok=True)  # of a server that died
        if not self.keep:
            self.done = "given up"
            return
        if any((self.data / "pg_tblspc").iterdir()):
            raise Failed(
                "the server has tablespaces, which can't be kept aside; -e aside=false does without"
            )
        has = int(run("du", "--summarize", "--bytes", str(self.data)).stdout.split()[0])
        try:
            room(self.data, has + WAL, "keeping what there is aside")
        except Failed as error:
            raise Failed(
                f"{error}. -e aside=false does without, and then the backups are all there is"
            ) from None
        self.done = "copying"
        run("cp", "--archive", "--reflink=auto", str(self.data), str(self.aside), root=True)
        self.done = "copied"

    def put_back(self) -> str:
        """Have what there was in its place again, and return whether it is."""
        if self.done == "given up":
            return "Nothing was kept aside, and the server stays stopped: mend what failed, and restore again."
        if self.done == "copying":
            shutil.rmtree(self.aside, ignore_errors=True)
        elif self.done:
            shutil.rmtree(self.data, ignore_errors=True)
            self.aside.rename(self.data)
        return "What there was is in its place again."

    def forget(self) -> None:
        """Remove what was kept."""
        if self.done != "given up":
            shutil.rmtree(self.aside)


def forget(known: Iterable[Point], position: str, root: Path) -> list[str]:
    """Have releases migrate again whose migrations the database has no more, and return them."""
    found = []
    # The last try of each alone: those before it were on timelines that may have been given up.
    for point in {(point["app"], point["release"]): point for point in known}.values():
        marker = root / point["app"] / "releases" / point["release"] / "migrated"
        if lsn(point["lsn"]) < lsn(position):
            continue
        marker.with_name("restore_point").unlink(missing_ok=True)
        if marker.exists():
            marker.unlink()
            found.append(f"{point['app']} {point['release']}")
    return found


def back(stanza: Stanza, root: Path, app: str, release: str) -> dict[str, Any]:
    """Return the restore point that leads back to the database of an earlier release, and what is lost by it.

    Args:
        stanza: The stanza.
        root: The folder of the applications' releases.
        app: The application.
        release: The release that is to serve again.

    Raises:
        Failed: There is none; the message says why.
    """
    lines = []
    for line in (root / app / "releases.jsonl").read_text().splitlines():
        with suppress(ValueError):
            lines.append(json.loads(line))
    point = before(lines, release)
    live = Live(stanza)
    xid, wal, rows = live.query(
        "SELECT pg_snapshot_xmax(pg_current_snapshot()),"
        f" pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '{point['lsn']}')::bigint,"
        " tup_inserted + tup_updated + tup_deleted"
        f" FROM pg_stat_database WHERE datname = '{point['database']}'"
    ).split("|")
    ago = datetime.now(UTC) - datetime.fromisoformat(point["time"])
    written = int(rows) - int(point["rows"])
    return {
        "point": point,
        "others": [name for name in facts(live)["databases"] if name != point["database"]],
        "seconds": round(ago.total_seconds()),
        "transactions": int(xid) - int(point["xid"]),
        "wal": size(int(wal)),
        "rows": written if written >= 0 else None,  # a crash has the server count anew
    }


def before(lines: list[dict[str, Any]], release: str) -> Point:
    """Return the restore point from before the first migration after a release served last.

    Raises:
        Failed: There is none.
    """
    served = [
        place
        for place, line in enumerate(lines)
        if line.get("status", "succeeded") != "failed"
        and line.get("to", line["release"]) == release
    ]
    if not served:
        raise Failed(f"release {release} has never served here")
    for line in lines[served[-1] + 1 :]:
        if line.get("restore_point"):
            point: Point = {**line["restore_point"], "release": line["release"]}
            return point
    raise Failed(
        f"nothing has migrated since {release} served, or there were no backups then: there is no restore point. "
        "Without with_database=true it is a rollback of the release alone"
    )
