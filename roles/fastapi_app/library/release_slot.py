#!/usr/bin/python
"""Prepare the idle slot for a release: its files and its units, and nothing of what serves."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_slot
short_description: Prepare the idle slot of an application
description:
  - Points the slot to a release and writes its settings and its units.
  - A slot that is right and runs, since it served a moment ago, is left alone. Else what runs in it is stopped first.
options:
  app: {type: str, required: true, description: The application.}
  root: {type: path, required: true, description: The folder under which each application has its own.}
  run: {type: str, required: true, description: The run's id.}
  slot: {type: str, required: true, choices: [blue, green], description: The slot; the one that serves is refused.}
  release: {type: str, required: true, description: The release's id.}
  environment: {type: str, required: true, description: 'The text of its environment, which has secrets.'}
  files: {type: dict, required: true, description: 'Texts of its other files, by name.'}
  secrets: {type: str, default: '', description: 'The secrets that it gets as files, as JSON.'}
  generated: {type: list, elements: str, default: [], description: 'Names of secrets that the host makes up.'}
  renew: {type: list, elements: str, default: [], description: 'Those among them that it makes up anew.'}
  generated_as: {type: str, default: environment, choices: [environment, files], description: How it gets those.}
  units: {type: dict, required: true, description: 'Texts of its units, by name without slot, such as shop@.service.'}
  sockets: {type: dict, default: {}, description: 'Texts of the units that hold its port for both slots, by name.'}
"""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.slipway_release import claim, private, slots, systemd
from ansible.module_utils.slipway_release.module import Application, run_step


def do(module: AnsibleModule, app: Application) -> dict[str, Any]:
    """Write what differs."""
    given, slot = module.params, module.params["slot"]
    if slot == app.live:
        raise claim.Refused(f"the slot {slot} serves; run it again")
    folder = app.slot(slot)
    wanted = {folder / name: text for name, text in given["files"].items()}
    secret = {folder / "environment": given["environment"]}
    units = {
        slots.UNITS / name.replace("@.", f"@{slot}."): text for name, text in given["units"].items()
    }
    ports = {slots.UNITS / name: text for name, text in given["sockets"].items()}
    there = slots.of_slot(slots.unit_files(app.name), slot)
    strays = [path for path in there if path not in units]
    asked = wanted | secret | units | ports
    changed = {path: text for path, text in asked.items() if read(path) != text}
    refuse_held(app, ports.keys() & changed.keys())
    moved = slots.target_name(folder / "release") != given["release"]
    running = systemd.active([path.name for path in there])
    right = not changed and not strays and not moved and not lacks_secrets(app, given)
    result = {
        "changed": not right,
        "diff": [difference(path, text) for path, text in changed.items() if path not in secret],
        "warm": right and app.unit(slot) in running,
    }
    if module.check_mode or right:
        return result

    systemd.systemctl("stop", *systemd.active([app.retirement]))
    systemd.systemctl("stop", *running)
    systemd.systemctl("disable", *(path.name for path in strays if slots.enabled(path.name)))
    for path in strays:
        path.unlink()
    for path, text in changed.items():
        if path in units or path in ports:
            slots.write(path, text)
        elif path in secret:
            slots.write(path, text, 0o600, 0)
        else:
            slots.write(path, text, 0o640, app.group)
    write_secrets(app, given)
    slots.point(folder / "release", f"../../releases/{given['release']}")
    if strays or changed.keys() & (units | ports).keys():
        systemd.systemctl("daemon-reload")
    close(app)
    return result


def lacks_secrets(app: Application, given: dict[str, Any]) -> bool:
    """Tell whether a slot has other secrets than it is to have."""
    folder, names = app.slot(given["slot"]), sorted(given["generated"])
    made = private.generated(folder)
    return (
        bool(given["renew"])
        or private.up_to_date(app.name, folder) != names
        or sorted(made) != names
        or private.files(folder / "secrets") != as_files(given, made)
    )


def as_files(given: dict[str, Any], made: dict[str, str]) -> dict[str, str]:
    """Return all that a slot gets as files."""
    mine: dict[str, str] = json.loads(given["secrets"] or "{}")
    return mine | (made if given["generated_as"] == "files" else {})


def write_secrets(app: Application, given: dict[str, Any]) -> None:
    """Make up what the host is to make up, and give the slot its copies."""
    folder = app.slot(given["slot"])
    private.make(app.name, given["generated"], given["renew"])
    known = private.made(app.name)
    made = {name: known[name] for name in given["generated"]}
    private.note(folder, made)
    private.write(folder / "secrets", as_files(given, made))


def refuse_held(app: Application, changed: Collection[Path]) -> None:
    """Refuse other addresses for a port that is open: they could be had only by closing it to everybody first.

    Raises:
        Failed: One of the sockets is open.
    """
    for path in changed:
        if path.suffix == ".socket" and systemd.active([path.name]):
            port = path.stem.removeprefix(f"{app.name}-")
            raise systemd.Failed(
                f"its port {port} is open on other addresses than it is to have now. Give it another port, "
                f"which loses nothing, or close this one first: systemctl stop {path.name} '{app.name}@*'"
            )


def close(app: Application) -> None:
    """Close the ports that no slot has any more."""
    texts = "".join(read(path) or "" for path in slots.unit_files(app.name))
    old = [path for path in slots.port_files(app.name) if f"{path.stem}.socket\n" not in texts]
    systemd.systemctl("stop", *systemd.active([path.name for path in old]))
    for path in old:
        path.unlink()
    if old:
        systemd.systemctl("daemon-reload")


def read(path: Path) -> str | None:
    """Return what a file holds, or None."""
    return path.read_text() if path.is_file() else None


def difference(path: Path, text: str) -> dict[str, str]:
    """Return a change as ``--diff`` shows it."""
    return {
        "before": read(path) or "",
        "after": text,
        "before_header": str(path),
        "after_header": str(path),
    }


if __name__ == "__main__":
    run_step(
        "slot",
        {
            "slot": {"type": "str", "required": True, "choices": ["blue", "green"]},
            "release": {"type": "str", "required": True},
            "environment": {"type": "str", "required": True, "no_log": True},
            "files": {"type": "dict", "required": True},
            # One text, and not a dict: each value of that would be blotted out of what is said, such as 1.
            "secrets": {"type": "str", "default": "", "no_log": True},
            "generated": {"type": "list", "elements": "str", "default": [], "no_log": False},
            "renew": {"type": "list", "elements": "str", "default": []},
            "generated_as": {
                "type": "str",
                "default": "environment",
                "choices": ["environment", "files"],
            },
            "units": {"type": "dict", "required": True},
            "sockets": {"type": "dict", "default": {}},
        },
        do,
    )
