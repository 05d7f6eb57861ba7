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
uv: {description: Versions of uv that are there., type: list}
interpreters: {description: Ids of the interpreters that came with releases., type: list}
absent: {description: 'By application that is to be absent: what there still is of it.', type: dict}
apps:
  description: A dict by application.
  type: dict
  returned: success
  contains:
    live: {description: 'The slot that serves, blue or green; empty before the first release.', type: str}
    previous: {description: 'What served before: release and settings; empty if there is none.', type: dict}
    serving:
      description: >-
        What serves: release (its id), environment, secrets, server, gunicorn, commands and units (SHA-256 of its
        files), generated (the names of secrets that the host made up, and that it has as they were made last),
        migrated (of what), active and enabled (all of its units, by systemd). Empty texts and false where nothing does.
      type: dict
    slots:
      description: >-
        By slot, blue and green: release, settings (a digest of its files), the units that are active and enabled;
        jobs (started by timers) that are at work.
      type: dict
    retiring: {description: Whether the host itself is about to let the slot go that served before., type: bool}
    claim: {description: 'The run that releases it now: run, by, node, pid, since; empty if none does.', type: dict}
    releases:
      description: >-
        Complete releases, those that have served first, newest first: app, id, version, target, wheels, migrated.
      type: list
    unfinished: {description: Releases that a run has not finished., type: list}
    wheels: {description: Ids of the wheels that are kept., type: list}
"""

import hashlib
import json
import pwd
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.slipway_release import claim, private, slots, systemd

SLOTS = ("blue", "green")


def release(folder: Path) -> dict[str, Any]:
    """Return what a complete release says of itself in its ``release.json``."""
    said: dict[str, Any] = json.loads((folder / "release.json").read_text())
    return {**said, "migrated": slots.text(folder / "migrated")}


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


def slot_state(folder: Path, files: list[Path], running: set[str]) -> dict[str, Any]:
    """Return the state of one slot as RETURN lists it."""
    units = [path.name for path in files if not slots.is_job(path)]
    return {
        "release": slots.target_name(folder / "release"),
        "settings": slots.settings(folder, files),
        "active": [unit for unit in units if unit in running],
        "enabled": [unit for unit in units if slots.enabled(unit)],
        "jobs": [path.name for path in files if slots.is_job(path) and path.name in running],
    }


def state(home: Path, files: list[Path], running: set[str]) -> dict[str, Any]:
    """Return the state of one application as RETURN lists it."""
    live = slots.target_name(home / "live")
    slot, units = home / "slots" / live, slots.of_slot(files, live)
    state = {
        name: slot_state(home / "slots" / name, slots.of_slot(files, name), running)
        for name in SLOTS
    }
    started = [path.name for path in units if not slots.is_job(path)]
    serving = {
        "release": slots.target_name(slot / "release"),
        "environment": slots.sha256(slot / "environment"),
        "secrets": hashlib.sha256(private.given(slot).encode()).hexdigest(),
        "generated": private.up_to_date(home.name, slot),
        "server": slots.sha256(slot / "slipway_server.py"),
        "gunicorn": slots.sha256(slot / "gunicorn.conf.py"),
        "commands": slots.sha256(slot / "commands"),
        "units": {path.name.replace(f"@{live}.", "@."): slots.sha256(path) for path in units},
        "migrated": slots.text(slot / "release" / "migrated"),
        "active": bool(live) and state[live]["active"] == started,
        "enabled": bool(live) and state[live]["enabled"] == started,
    }
    now = {"release": serving["release"], "settings": slots.settings(slot, units)}
    # What has served comes first: it is what a rollback may return to, and what is removed is taken from the end.
    served = slots.served(slots.ledger(home))
    complete = sorted(slots.complete(home), key=lambda path: path.name not in served)
    return {
        "live": live,
        "previous": slots.previous(home, now),
        "serving": serving,
        "slots": state,
        "retiring": f"{home.name}-retire.service" in running,
        "claim": claim.holder(home.name),
        "releases": [release(path) for path in complete],
        "unfinished": sorted(path.name for path in home.glob("releases/*") if path not in complete),
        "wheels": sorted(path.name for path in home.glob("wheels/*")),
    }


def remains(home: Path, files: list[Path], purged: bool) -> list[str]:
    """Return what a host still has of an application that is to be absent."""
    users = [f"user {name}" for name in (home.name, f"{home.name}_migrator") if exists(name)]
    folders = [path for path in (home, Path("/run", home.name)) if path.exists()]
    if not purged and home.exists() and {path.name for path in home.iterdir()} <= {"shared"}:
        folders.remove(home)
    folders += [path for path in [private.store(home.name)] if purged and path.exists()]
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
    root, tools = Path(module.params["root"]), Path(module.params["tools"])
    apps, absent = module.params["apps"], module.params["absent"]
    files: dict[str, list[Path]] = {name: [] for name in (*apps, *absent)}
    for path in slots.unit_files():
        files.setdefault(slots.owner(path), []).append(path)
    units = [path.name for name in apps for path in files[name]]
    running = set(systemd.active([*units, *(f"{name}-retire.service" for name in apps)]))
    module.exit_json(
        host={
            "sysusers": slots.sha256(Path("/etc/sysusers.d/slipway.conf")),
            "tmpfiles": slots.sha256(Path("/etc/tmpfiles.d/slipway.conf")),
            "made": all(made(root / name) for name in apps),
        },
        uv=sorted(path.name.removeprefix("uv-") for path in tools.glob("uv-*")),
        interpreters=sorted(path.name for path in tools.glob("python/*")),
        absent={
            name: remains(root / name, files[name], name in module.params["purged"])
            for name in absent
        },
        apps={name: state(root / name, files[name], running) for name in apps},
    )


if __name__ == "__main__":
    main()
