#!/usr/bin/python
"""Tell what releases of which applications a host has, which one serves, and with which files."""

from __future__ import annotations

DOCUMENTATION = r"""
module: releases_info
short_description: State of the applications on a host
description:
  - One look at everything that a release decides by. It changes nothing.
options:
  root: {type: path, required: true, description: The folder under which each application has its own.}
  apps: {type: list, elements: str, required: true, description: The applications' names.}
  absent: {type: list, elements: str, default: [], description: Names of applications that are to be absent.}
  purged: {type: list, elements: str, default: [], description: Those among them whose data is to be deleted.}
  tools: {type: path, required: true, description: The folder of uv and of interpreters.}
"""

RETURN = r"""
host: {description: 'SHA-256 of what declares users and folders, and whether they are made.', type: dict}
interpreters: {description: Ids of the interpreters that came with releases., type: list}
absent: {description: 'By application that is to be absent: what there still is of it.', type: dict}
apps:
  description: A dict by application.
  type: dict
  returned: success
  contains:
    live: {description: 'The slot that serves, blue or green; empty before the first release.', type: str}
    previous: {description: 'The id of the release that served before; empty if there is none.', type: str}
    serving:
      description: >-
        What serves: release (its id), environment, gunicorn, commands and units (SHA-256 of its files),
        migrated (of what), active and enabled (all of its units, by systemd). Empty texts and false where nothing does.
      type: dict
    slots:
      description: >-
        By slot, blue and green: the units that are active and enabled; jobs (started by timers) that are at work.
      type: dict
    releases: {description: 'Complete releases, newest first: app, id, version, target, wheels, migrated.', type: list}
    wheels: {description: Ids of the wheels that are kept., type: list}
"""

import hashlib
import json
import pwd
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

SLOTS = ("blue", "green")
UNITS = Path("/etc/systemd/system")


def target_name(link: Path) -> str:
    """Return the last part of what a symbolic link points to; empty if there is no link."""
    return link.readlink().name if link.is_symlink() else ""


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits; empty if there is no file."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def enabled(unit: str) -> bool:
    """Tell whether systemd starts a unit at boot."""
    target = "timers" if unit.endswith(".timer") else "multi-user"
    return (UNITS / f"{target}.target.wants" / unit).is_symlink()


def text(path: Path) -> str:
    """Return what a file holds; empty if there is no file."""
    return path.read_text().strip() if path.is_file() else ""


def release(folder: Path) -> dict[str, Any]:
    """Return what a complete release says of itself in its ``release.json``."""
    said: dict[str, Any] = json.loads((folder / "release.json").read_text())
    return {**said, "migrated": text(folder / "migrated")}


def exists(user: str) -> bool:
    """Tell whether the host has a user."""
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def made(home: Path) -> bool:
    """Tell whether all that is declared for an application is there, not only declared."""
    users = (home.name, f"{home.name}_migrator")
    return all(map(exists, users)) and (home / "slots/green/app.sock").is_symlink()


def templates() -> dict[str, list[Path]]:
    """Return the files of unit templates that Slipway made, by application."""
    found: dict[str, list[Path]] = {}
    for path in sorted(UNITS.glob("*@.*")):
        if path.suffix not in (".service", ".timer") or path.is_symlink():
            continue
        for line in path.read_text(errors="replace").splitlines():
            if line.startswith("X-Slipway-App="):
                found.setdefault(line.partition("=")[2], []).append(path)
    return found


def in_slot(template: Path, slot: str) -> str:
    """Return the name of a template's unit for a slot."""
    return template.name.replace("@.", f"@{slot}.")


def is_job(template: Path) -> bool:
    """Tell whether a unit is started by a timer, and not at boot."""
    return template.suffix == ".service" and template.with_suffix(".timer").exists()


def slot_state(files: list[Path], slot: str, running: set[str]) -> dict[str, list[str]]:
    """Return the units of a slot that are active or enabled, and the jobs that are at work."""
    units = [in_slot(path, slot) for path in files if not is_job(path)]
    jobs = [in_slot(path, slot) for path in files if is_job(path)]
    return {
        "active": [unit for unit in units if unit in running],
        "enabled": [unit for unit in units if enabled(unit)],
        "jobs": [unit for unit in jobs if unit in running],
    }


def state(home: Path, files: list[Path], running: set[str]) -> dict[str, Any]:
    """Return the state of one application as RETURN lists it."""
    live = target_name(home / "live")
    complete = sorted(
        home.glob("releases/*/release.json"), key=lambda path: path.stat().st_mtime, reverse=True
    )
    slot = home / "slots" / live
    slots = {name: slot_state(files, name, running) for name in SLOTS}
    wanted = [in_slot(path, live) for path in files if not is_job(path)]
    return {
        "live": live,
        "previous": target_name(home / "previous"),
        "serving": {
            "release": target_name(slot / "release"),
            "environment": sha256(slot / "environment"),
            "gunicorn": sha256(slot / "gunicorn.conf.py"),
            "commands": sha256(slot / "commands"),
            "units": {path.name: sha256(path) for path in files},
            "migrated": text(slot / "release" / "migrated"),
            "active": bool(live) and slots[live]["active"] == wanted,
            "enabled": bool(live) and slots[live]["enabled"] == wanted,
        },
        "slots": slots,
        "releases": [release(path.parent) for path in complete],
        "wheels": sorted(path.name for path in home.glob("wheels/*")),
    }


def remains(home: Path, files: list[Path], purged: bool) -> list[str]:
    """Return what a host still has of an application that is to be absent."""
    users = [f"user {name}" for name in (home.name, f"{home.name}_migrator") if exists(name)]
    folders = [path for path in (home, Path("/run", home.name)) if path.exists()]
    if not purged and home.exists() and {path.name for path in home.iterdir()} <= {"shared"}:
        folders.remove(home)
    return [*users, *map(str, [*files, *folders])]


def main() -> None:
    """Run as an Ansible module."""
    names: dict[str, Any] = {"type": "list", "elements": "str"}
    spec = {
        "root": {"type": "path", "required": True},
        "apps": {**names, "required": True},
        "absent": {**names, "default": []},
        "purged": {**names, "default": []},
        "tools": {"type": "path", "required": True},
    }
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    files = templates()
    units = [
        in_slot(path, slot)
        for name in module.params["apps"]
        for path in files.get(name, [])
        for slot in SLOTS
    ]
    running: set[str] = set()
    if units:
        # is-active prints a line for each unit, in order, and fails if any is not active: that is no error here.
        _, out, _ = module.run_command(["systemctl", "is-active", *units])
        # One that is on its way up, or down, runs too.
        at_rest = {"inactive", "failed", "unknown"}
        said = zip(units, out.splitlines(), strict=False)
        running = {unit for unit, line in said if line not in at_rest}
    root = Path(module.params["root"])
    module.exit_json(
        host={
            "sysusers": sha256(Path("/etc/sysusers.d/slipway.conf")),
            "tmpfiles": sha256(Path("/etc/tmpfiles.d/slipway.conf")),
            "made": all(made(root / name) for name in module.params["apps"]),
        },
        interpreters=sorted(path.name for path in Path(module.params["tools"]).glob("python/*")),
        absent={
            name: remains(root / name, files.get(name, []), name in module.params["purged"])
            for name in module.params["absent"]
        },
        apps={
            name: state(root / name, files.get(name, []), running) for name in module.params["apps"]
        },
    )


if __name__ == "__main__":
    main()
