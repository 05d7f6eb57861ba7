"""An application's folder on the host: what serves, what could, and what served before."""

from __future__ import annotations

import hashlib
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

UNITS = Path("/etc/systemd/system")
# What a slot is made of beside its release and its units.
FILES = ("environment", "slipway_server.py", "gunicorn.conf.py", "commands")


def now() -> str:
    """Return the time as the ledger has it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def text(path: Path) -> str:
    """Return what a file holds; empty if there is no file."""
    return path.read_text(errors="replace").strip() if path.is_file() else ""


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits; empty if there is no file."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def target_name(link: Path) -> str:
    """Return the last part of what a symbolic link points to; empty if there is no link."""
    return link.readlink().name if link.is_symlink() else ""


def write(path: Path, text: str, mode: int = 0o644, group: int = 0) -> None:
    """Write a file of root's, whole or not at all."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    new.touch(mode=0o600)
    with new.open("w") as file:
        file.write(text)
        os.fchown(file.fileno(), 0, group)
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())
    new.replace(path)


def point(link: Path, target: str) -> None:
    """Have a symbolic link point somewhere, by rename(2): there is no moment without it."""
    new = link.with_name(f".{link.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    new.rename(link)


def unit_files(app: str = "") -> list[Path]:
    """Return the files of units that Slipway made, of one application or of all."""
    found = []
    for path in sorted(UNITS.glob("*@*.*")):
        if path.suffix not in (".service", ".timer") or path.is_symlink() or not path.is_file():
            continue
        if owner(path) and app in ("", owner(path)):
            found.append(path)
    return found


def port_files(app: str) -> list[Path]:
    """Return the files of the units that hold an application's ports, each socket before what it starts."""
    found = [*sorted(UNITS.glob(f"{app}-*.socket")), *sorted(UNITS.glob(f"{app}-*.service"))]
    return [path for path in found if "@" not in path.name and owner(path) == app]


def owner(unit: Path) -> str:
    """Return the application that a unit says it belongs to; empty for somebody else's."""
    for line in unit.read_text(errors="replace").splitlines():
        if line.startswith("X-Slipway-App="):
            return line.partition("=")[2]
    return ""


def of_slot(files: list[Path], slot: str) -> list[Path]:
    """Return those of some unit files that are a slot's."""
    return [path for path in files if path.stem.endswith(f"@{slot}")]


def is_job(unit: Path) -> bool:
    """Tell whether a unit is started by a timer, and not at boot."""
    return unit.suffix == ".service" and unit.with_suffix(".timer").exists()


def enabled(unit: str) -> bool:
    """Tell whether systemd starts a unit at boot."""
    target = "timers" if unit.endswith(".timer") else "multi-user"
    return (UNITS / f"{target}.target.wants" / unit).is_symlink()


def settings(slot: Path, units: list[Path]) -> str:
    """Return a digest of all that a slot is but for its release; empty for a slot that was never prepared."""
    if not (slot / "release").is_symlink():
        return ""
    parts = [sha256(slot / name) for name in FILES]
    # Only where there are any, so that slots from before there were such files are what they were.
    private = [slot / "generated", *sorted(slot.glob("secrets/[!.]*"))]
    parts += [f"{path.name} {sha256(path)}" for path in private if path.is_file()]
    parts += [f"{path.name.partition('@')[0]}{path.suffix} {sha256(path)}" for path in units]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def complete(home: Path) -> list[Path]:
    """Return the folders of complete releases, newest first: ``release.json`` is what is written last."""
    found = home.glob("releases/*/release.json")
    return [
        path.parent for path in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)
    ]


def ledger(home: Path) -> list[dict[str, Any]]:
    """Return the lines of ``releases.jsonl``, oldest first; one that a crash has cut off is left out."""
    lines = []
    for line in text(home / "releases.jsonl").splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            continue
    return lines


def note(home: Path, line: dict[str, Any], group: int) -> None:
    """Add a line to the ledger, whole even if the last one was cut off."""
    path = home / "releases.jsonl"
    cut = path.exists() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
    with path.open("a") as file:
        os.fchmod(file.fileno(), 0o640)
        os.fchown(file.fileno(), 0, group)
        file.write(("\n" if cut else "") + json.dumps(line) + "\n")
        file.flush()
        os.fsync(file.fileno())


def restore_point(release: Path) -> dict[str, Any]:
    """Return for the ledger what the database can go back to from before a release migrated it; empty if to nothing."""
    try:
        return {"restore_point": json.loads((release / "restore_point").read_text())}
    except (OSError, ValueError):
        return {}


def history(lines: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Return what has served and was not taken back, oldest first, each as release and settings.

    What a rollback returned to is the last again, so that the next rollback goes one further back.
    """
    stack: list[dict[str, str]] = []
    for line in lines:
        served = {
            "release": line.get("to") or line["release"],
            "settings": line.get("settings", ""),
        }
        status = line.get("status", "succeeded")
        if status == "rolled_back":
            del stack[-1:]
            known = [
                place for place, one in enumerate(stack) if one["release"] == served["release"]
            ]
            stack[known[-1] if known else len(stack) :] = [served]
        elif status == "succeeded" and served not in stack[-1:]:
            stack.append(served)
    return stack


def served(lines: list[dict[str, Any]]) -> set[str]:
    """Return the releases that have served at some time."""
    switched = [line for line in lines if line.get("status", "succeeded") != "failed"]
    return {line[key] for line in switched for key in ("release", "to") if key in line}


def previous(home: Path, serving: dict[str, str]) -> dict[str, str]:
    """Return the release and the settings that served before what serves; empty if none of them is left."""
    there = {path.name for path in complete(home)}
    before = history(ledger(home))
    if before and before[-1]["release"] == serving["release"]:
        before.pop()
    left = [one for one in before if one["release"] in there and one != serving]
    return left[-1] if left else {}
