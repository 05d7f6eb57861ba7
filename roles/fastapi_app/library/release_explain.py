#!/usr/bin/python
"""Clear up after a release that failed, and gather what explains it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_explain
short_description: What there is to know of a release that failed
description:
  - Stops what was started of a slot that does not serve, notes the failure in C(releases.jsonl), and drops the claim.
  - Compares the release with the one that serves.
options:
  app: {type: str, required: true, description: The application.}
  root: {type: path, required: true, description: The folder under which each application has its own.}
  run: {type: str, required: true, description: The run's id.}
  slot: {type: str, required: true, choices: [blue, green], description: The slot that it was to have.}
  release: {type: str, required: true, description: Its id.}
  ledger: {type: dict, required: true, description: What releases.jsonl is to say of it.}
  noted: {type: bool, default: false, description: Whether releases.jsonl has it already.}
  since: {type: float, required: true, description: 'When the run began with it, in seconds of the epoch.'}
"""

RETURN = r"""
serving: {description: The release that serves; empty if none does., type: str}
switched: {description: Whether the slot serves in spite of the failure., type: bool}
journal: {description: The end of what the slot said., type: str}
differs: {description: 'What differs from the release that serves: lines to read.', type: list}
"""

import filecmp
import re
import shlex
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.slipway_release import claim, private, slots, systemd
from ansible.module_utils.slipway_release.module import Application, run_step


def do(module: AnsibleModule, app: Application) -> dict[str, Any]:
    """Clear up, and compare."""
    given, slot, live = module.params, module.params["slot"], app.live
    if module.check_mode:
        return {"changed": False, "serving": app.release(live), "journal": "", "differs": []}
    journal = systemd.journal([app.unit(slot)], given["since"])
    if slot != live:
        units = slots.of_slot(slots.unit_files(app.name), slot)
        systemd.systemctl("stop", *systemd.active([app.retirement]))
        systemd.systemctl("stop", *systemd.active([path.name for path in units]))
        systemd.systemctl("disable", *(path.name for path in units if slots.enabled(path.name)))
        if not live:  # whoever asks is refused, and doesn't wait for what never comes
            ports = [path.name for path in slots.port_files(app.name)]
            systemd.systemctl("stop", *systemd.active(ports))
        if not given["noted"]:
            # What a migration that failed has left can be undone by it.
            point = slots.restore_point(app.home / "releases" / given["release"])
            slots.note(app.home, given["ledger"] | point | {"finished_at": slots.now()}, app.group)
    claim.drop(app.name, given["run"])
    serving = app.release(live) if live else ""
    return {
        "changed": True,
        "serving": serving,
        "switched": slot == live,
        "journal": journal,
        "differs": compare(app, live, slot, given["release"]) if live and live != slot else [],
    }


def compare(app: Application, live: str, slot: str, release: str) -> list[str]:
    """Return what differs between what serves and a release in a slot, as lines."""
    serving = app.home / "releases" / app.release(live)
    wanted = app.home / "releases" / release
    if not (wanted / "release.json").exists():
        return []
    lines = changes("lock", packages(app, serving), packages(app, wanted))
    files = sorted(different(serving / "src", wanted / "src"))
    migrations = [name for name in files if re.search(r"migration|alembic|versions/", name)]
    lines += listed("migrations", migrations)
    lines += listed("source", [name for name in files if name not in migrations])
    if app.release(slot) == release:
        # Names alone: what they are set to may be secret.
        differing = variables(app.slot(live)).items() ^ variables(app.slot(slot)).items()
        lines += listed("settings", sorted({name for name, _ in differing}))
    return lines


def packages(app: Application, release: Path) -> dict[str, str]:
    """Return the locked versions of a release, by package."""
    wheels = re.search(r'"wheels": "(\w+)"', slots.text(release / "release.json"))
    lock = slots.text(app.home / "wheels" / (wheels[1] if wheels else "") / "requirements.txt")
    return dict(re.findall(r"(?m)^([\w.\[\],-]+)==([^\s;\\]+)", lock))


def changes(what: str, old: dict[str, str], new: dict[str, str]) -> list[str]:
    """Return the changed values of two dicts as one line."""
    return listed(
        what,
        [
            f"{name} {old.get(name, 'none')} -> {new.get(name, 'none')}"
            for name in sorted(old.keys() | new.keys())
            if old.get(name) != new.get(name)
        ],
    )


def listed(what: str, names: list[str]) -> list[str]:
    """Return a line that lists names, if there are any."""
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return [f"{what}: {', '.join(names[:8])}{more}"] if names else []


def different(old: Path, new: Path) -> set[str]:
    """Return the files that differ between two folders, but for what Python compiles."""

    def files(folder: Path) -> set[str]:
        return {
            str(path.relative_to(folder))
            for path in folder.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }

    both = files(old) & files(new)
    return (files(old) ^ files(new)) | {
        name for name in both if not filecmp.cmp(old / name, new / name, shallow=False)
    }


def variables(slot: Path) -> dict[str, str]:
    """Return a slot's environment and secrets, but for what every release has of its own."""
    words = shlex.split(slots.text(slot / "environment"), comments=True)
    found = dict(word.split("=", 1) for word in words if "=" in word)
    found.pop("SLIPWAY_RELEASE", None)
    return {**found, **private.generated(slot), **private.files(slot / "secrets")}


if __name__ == "__main__":
    run_step(
        "explain",
        {
            "slot": {"type": "str", "required": True, "choices": ["blue", "green"]},
            "release": {"type": "str", "required": True},
            "ledger": {"type": "dict", "required": True},
            "noted": {"type": "bool", "default": False},
            "since": {"type": "float", "required": True},
        },
        do,
        claimed=False,
    )
