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
"""

RETURN = r"""
host: {description: 'SHA-256 of what declares users and folders, and whether they are made.', type: dict}
apps:
  description: A dict by application.
  type: dict
  returned: success
  contains:
    live: {description: 'The slot that serves, blue or green; empty before the first release.', type: str}
    previous: {description: 'The id of the release that served before; empty if there is none.', type: str}
    serving:
      description: >-
        What serves: release (its id), environment, gunicorn and unit (SHA-256 of its files), migrated (of what),
        active and enabled (by systemd). Empty texts and false where nothing does.
      type: dict
    slots: {description: 'By slot, blue and green: active and enabled, by systemd.', type: dict}
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
    return (UNITS / "multi-user.target.wants" / unit).is_symlink()


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


def state(home: Path, active: dict[str, bool]) -> dict[str, Any]:
    """Return the state of one application as RETURN lists it."""
    name = home.name
    live = target_name(home / "live")
    complete = sorted(
        home.glob("releases/*/release.json"), key=lambda path: path.stat().st_mtime, reverse=True
    )
    slot = home / "slots" / live
    unit = f"{name}@{live}.service"
    return {
        "live": live,
        "previous": target_name(home / "previous"),
        "serving": {
            "release": target_name(slot / "release"),
            "environment": sha256(slot / "environment"),
            "gunicorn": sha256(slot / "gunicorn.conf.py"),
            "unit": sha256(UNITS / f"{name}@.service"),
            "migrated": text(slot / "release" / "migrated"),
            "active": active.get(unit, False),
            "enabled": enabled(unit),
        },
        "slots": {
            slot: {
                "active": active.get(f"{name}@{slot}.service", False),
                "enabled": enabled(f"{name}@{slot}.service"),
            }
            for slot in SLOTS
        },
        "releases": [release(path.parent) for path in complete],
        "wheels": sorted(path.name for path in home.glob("wheels/*")),
    }


def main() -> None:
    """Run as an Ansible module."""
    spec = {
        "root": {"type": "path", "required": True},
        "apps": {"type": "list", "elements": "str", "required": True},
    }
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    names: list[str] = module.params["apps"]
    units = [f"{name}@{slot}.service" for name in names for slot in SLOTS]
    active: dict[str, bool] = {}
    if units:
        # is-active prints a line for each unit, in order, and fails if any is not active: that is no error here.
        _, out, _ = module.run_command(["systemctl", "is-active", *units])
        # One that is on its way up, or down, runs too.
        at_rest = {"inactive", "failed", "unknown"}
        active = dict(zip(units, (line not in at_rest for line in out.splitlines()), strict=False))
    root = Path(module.params["root"])
    module.exit_json(
        host={
            "sysusers": sha256(Path("/etc/sysusers.d/slipway.conf")),
            "tmpfiles": sha256(Path("/etc/tmpfiles.d/slipway.conf")),
            "made": all(made(root / name) for name in names),
        },
        apps={name: state(root / name, active) for name in names},
    )


if __name__ == "__main__":
    main()
