"""What a restore can go back to, and which backup it has to begin with."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from server import Restored, limits
from stanza import QUIET, Backup, Failed, Look, Repository, Stanza, lsn, missing, number, run

Point = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """Where a recovery ends.

    Attributes:
        kind: What pgBackRest calls it: ``default`` (the end of the WAL), ``time``, ``lsn`` or ``name``.
        value: A time, a position or the name of a restore point.
        timeline: That which the position is on; 0 is the latest one.
        words: The same as one speaks of it.
    """

    kind: str = "default"
    value: str = ""
    timeline: int = 0
    words: str = "the last that is archived"

    def options(self, action: str) -> list[str]:
        """Return pgBackRest's options for it."""
        if self.kind == "default":
            return []
        found = [f"--type={self.kind}", f"--target={self.value}", f"--target-action={action}"]
        if self.kind == "lsn":  # up to it and not what begins there
            found.append("--target-exclusive")
        if self.timeline:
            found.append(f"--target-timeline={self.timeline}")
        return found


def points(root: Path) -> list[Point]:
    """Return the restore points that releases have made before they migrated, oldest first.

    Args:
        root: The folder under which each application has its own, with what it has released in ``releases.jsonl``.
    """
    found = []
    for path in sorted(root.glob("*/releases.jsonl")):
        for line in path.read_text(errors="replace").splitlines():
            try:
                said = json.loads(line)
            except ValueError:
                continue  # cut off by a crash
            if point := said.get("restore_point"):
                found.append({**point, "app": said["app"], "release": said["release"]})
    return sorted(found, key=lambda point: str(point["time"]))


def resolve(to: str, known: Iterable[Point], now: datetime) -> Target:
    """Return what is meant by a word: ``latest``, a release, a restore point, a ``timeline:position``, or a time.

    Raises:
        Failed: It is none of them, or stands for several.
    """
    if to == "latest":
        return Target()
    named = [
        point
        for point in known
        if to in (point["name"], point["release"], f"{point['timeline']}:{point['lsn']}")
    ]
    if named:
        if len({point["name"] for point in named}) > 1:
            names = ", ".join(sorted({point["name"] for point in named}))
            raise Failed(f"to is {to}, a release of several applications; name one of {names}")
        last = named[-1]
        words = f"before release {last['release']} of {last['app']} migrated ({last['time']})"
        return Target("lsn", last["lsn"], int(last["timeline"]), words)
    if position := re.fullmatch(r"(\d+):([0-9A-F]+/[0-9A-F]+)", to):  # of a release on another host
        words = f"the position {position[2]} of timeline {position[1]}"
        return Target("lsn", position[2], int(position[1]), words)
    try:
        time = datetime.fromisoformat(to)
    except ValueError:
        names = ", ".join(dict.fromkeys(point["name"] for point in reversed(list(known)))) or "none"
        raise Failed(
            f"to is {to!r}; write latest, a time such as '2026-11-28 14:30:00+01:00', a release that has migrated, "
            f"or a restore point; known are: {names}"
        ) from None
    time = (time if time.tzinfo else time.astimezone()).astimezone(UTC)
    if time > now:
        raise Failed(f"to is {to}, which is yet to come; for all that there is, write latest")
    return Target(
        "time", time.strftime("%Y-%m-%d %H:%M:%S.%f+00"), 0, f"{time:%Y-%m-%d %H:%M:%S} UTC"
    )


def forks(history: str) -> dict[int, int]:
    """Return where the timelines before another one were left, by timeline, from its history file."""
    lines = re.findall(r"(?m)^(\d+)\t([0-9A-F]+/[0-9A-F]+)", history)
    return {int(line): lsn(position) for line, position in lines}


def pick(
    backups: Iterable[Backup], target: Target, left: dict[int, int], timeline: int
) -> Backup | None:
    """Return the newest backup that a recovery to a target can begin with.

    Args:
        backups: Those that there are, oldest first.
        target: The target.
        left: Where the timelines before that of the target were left.
        timeline: That of the target.
    """
    found = None
    for backup in backups:
        stop, line = lsn(backup["lsn"]["stop"]), int(backup["archive"]["stop"][:8], 16)
        if line != timeline and stop > left.get(line, -1):
            continue  # of a past that was given up
        if target.kind == "lsn" and stop > lsn(target.value):
            continue
        if target.kind == "time" and backup["timestamp"]["stop"] > seconds(target.value):
            continue
        found = backup
    return found


def seconds(value: str) -> float:
    """Return the value of a target of the kind ``time`` in seconds since 1970."""
    return datetime.strptime(f"{value}00", "%Y-%m-%d %H:%M:%S.%f%z").timestamp()


def choose(stanza: Stanza, repository: Repository, look: Look, target: Target) -> Backup:
    """Return the backup that a restore begins with.

    Raises:
        Failed: There is none from before the target.
    """
    names = stanza.archived(repository, look)
    # By its segments, too: the history isn't there if nobody archived when the timeline began.
    lines = (re.match(r"([0-9A-F]{8})(\.history|[0-9A-F]{8})", name) for name in names)
    timeline = target.timeline or max([1, *(int(line[1], 16) for line in lines if line)])
    history = ""
    if f"{timeline:08X}.history" in names:
        path = f"archive/{stanza.name}/{look.archive}/{timeline:08X}.history"
        history = run("pgbackrest", *QUIET, f"--repo={repository.key}", "repo-get", path).stdout
    own = [one for one in look.backups if look.archive.endswith(f"-{one['database']['id']}")]
    found = pick(own, target, forks(history), timeline)
    if not own:
        raise Failed(f"repository {repository.name} has no backup yet")
    if not found:
        first = f"; its first one ended {moment(own[0]['timestamp']['stop'])}"
        raise Failed(
            f"repository {repository.name} has no backup from before {target.words}{first}"
        )
    # PostgreSQL would take a gap for the end, and say nothing.
    begins = number(found["archive"]["start"])
    gaps = [one for one in missing(names, [found]) if number(one) >= begins]
    if gaps and target.kind == "default":
        raise Failed(
            f"repository {repository.name} lacks the WAL segment {gaps[0]}: what came after it can't be restored. "
            "What came before can: write a time"
        )
    return found


def moment(at: float) -> str:
    """Return a time in seconds since 1970 as people read it."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def fetch(stanza: Stanza, repository: Repository, backup: Backup, *options: str) -> None:
    """Have pgBackRest restore a backup.

    Raises:
        Failed: It could not; the message is why.
    """
    try:
        stanza.ask(f"--repo={repository.key}", f"--set={backup['label']}", *options, "restore")
    except Failed as error:
        if "No space left" in str(error):
            raise Failed("the disk that is restored to is full") from error
        raise Failed(f"repository {repository.name} could not be restored from: {error}") from error


def bring(
    stanza: Stanza,
    repository: Repository,
    backup: Backup,
    restored: Restored,
    target: Target,
    action: str = "promote",
) -> None:
    """Restore a backup into a scratch folder.

    Args:
        stanza: The stanza.
        repository: Where the backup is.
        backup: Which it is.
        restored: Where it goes.
        target: What it is to be recovered to.
        action: What is done there, ``promote`` or ``pause``.

    Raises:
        Failed: It could not be restored; the message is why.
    """
    run("mkdir", "--mode=0700", str(restored.data))
    # Tablespaces would go where the live server has its own.
    elsewhere = f"--tablespace-map-all={restored.folder}/tablespaces"
    where = (f"--pg1-path={restored.data}", "--archive-mode=off", elsewhere)
    fetch(stanza, repository, backup, *where, *target.options(action))
    settings = limits(restored.live, restored.data)
    lines = "".join(f"{name} = {value}\n" for name, value in settings.items())
    run(
        "sh",
        "-c",
        f"cat > {restored.folder}/postgresql.conf; : > {restored.folder}/ident",
        input=lines,
    )
