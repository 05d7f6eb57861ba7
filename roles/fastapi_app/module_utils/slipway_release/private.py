"""An application's secrets on the host: those that the host makes up, and the files that systemd hands on.

All of them are root's alone. A slot has copies of its own, so that the other one goes on with what it was started with.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
from collections.abc import Collection, Iterable
from pathlib import Path

from . import slots

STORE = Path("/etc/slipway/secrets")
LENGTH = 48  # bytes, which are 64 characters


def store(app: str) -> Path:
    """Return the file with what was made up for an application."""
    return STORE / f"{app}.json"


def made(app: str) -> dict[str, str]:
    """Return what was made up for an application, by name."""
    path = store(app)
    said: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    return said


def make(app: str, names: Iterable[str], renew: Collection[str] = ()) -> None:
    """Make up what an application lacks, and anew what is named; what nobody asks for any more stays."""
    known = made(app)
    wanted = [name for name in names if name not in known or name in renew]
    if wanted:
        STORE.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = {name: secrets.token_urlsafe(LENGTH) for name in wanted}
        slots.write(store(app), json.dumps(known | fresh, sort_keys=True) + "\n", 0o600)


def generated(slot: Path) -> dict[str, str]:
    """Return what a slot has of it, by name. No such secret has a letter that an environment file would escape."""
    return dict(re.findall(r'(?m)^(\w+)="([\w-]+)"$', slots.text(slot / "generated")))


def up_to_date(app: str, slot: Path) -> list[str]:
    """Return the names of what a slot has as it was made up last."""
    last = made(app)
    return sorted(name for name, value in generated(slot).items() if last.get(name) == value)


def files(folder: Path) -> dict[str, str]:
    """Return the secrets in a folder, by name, each as it was written: a key may have lines as Windows ends them."""
    found = (path for path in sorted(folder.glob("[!.]*")) if path.is_file())
    return {path.name: path.read_bytes().decode() for path in found}


def given(slot: Path) -> str:
    """Return as JSON what the inventory has given a slot as files; empty if it gave none."""
    mine = generated(slot)
    theirs = {name: value for name, value in files(slot / "secrets").items() if name not in mine}
    return json.dumps(theirs, sort_keys=True) if theirs else ""


def write(folder: Path, wanted: dict[str, str]) -> None:
    """Have a folder hold these secrets and nothing else; none is no folder."""
    if not wanted:
        shutil.rmtree(folder, ignore_errors=True)
        return
    folder.mkdir(mode=0o700, exist_ok=True)
    for path in folder.iterdir():
        if path.name not in wanted:
            path.unlink()
    for name, value in wanted.items():
        slots.write(folder / name, value, 0o600)


def note(slot: Path, wanted: dict[str, str]) -> None:
    """Have a slot keep what was made up for it, as an environment file."""
    path = slot / "generated"
    if wanted:
        lines = (f'{name}="{value}"\n' for name, value in sorted(wanted.items()))
        slots.write(path, "".join(lines), 0o600)
    else:
        path.unlink(missing_ok=True)
