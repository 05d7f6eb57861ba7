"""Filters for backups: what is wrong with repositories, and what their state comes to."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from status import span  # plugins are in no package

NAME = re.compile(r"[a-z][a-z0-9-]{0,19}")
PATH = re.compile(r"(/[A-Za-z0-9._-]+)+")
HOST = re.compile(r"[A-Za-z0-9_:.-]+")
# What a line of pgBackRest's configuration can hold.
PLAIN = re.compile(r"[!-~]([ -~]*[!-~])?")
# What the units have hidden: ProtectHome and PrivateTmp.
HIDDEN = re.compile(r"/(home|root|run/user|tmp|var/tmp)(/|$)")
MIN_PASSPHRASE = 20
# What each kind has to have, and with it all that it may have.
NEEDS = {
    "local": (),
    "ssh": ("host", "user", "private_key", "host_keys"),
    "s3": ("bucket", "endpoint", "access_key", "secret_key"),
}
OWN = {
    "host": "ssh",
    "private_key": "ssh",
    "host_keys": "ssh",
    "bucket": "s3",
    "endpoint": "s3",
    "access_key": "s3",
    "secret_key": "s3",
    "ca_file": "s3",
}


def errors(repositories: list[Mapping[str, Any]]) -> list[str]:
    """Return what is wrong with ``backup_repositories``, each with the key and the fix; no secret is in it."""
    found = (
        []
        if repositories
        else ["backup_repositories: is empty; name one, or set backup_enabled: false"]
    )
    names = [one["name"] for one in repositories]
    for number, one in enumerate(repositories):
        where = f"backup_repositories[{number}]"
        if not NAME.fullmatch(one["name"]):
            found.append(
                f"{where}.name: {one['name']!r} must be a lower-case letter, then letters, digits or -, at most 20"
            )
        if names.index(one["name"]) < number:
            found.append(f"{where}.name: {one['name']} is there twice; give each a name of its own")
        found += [f"{where}.{error}" for error in _errors(one)]
    places = [
        (one["type"], one["host"], one["endpoint"], one["bucket"], one["path"])
        for one in repositories
    ]
    for number, place in enumerate(places):
        if places.index(place) < number:
            found.append(
                f"backup_repositories[{number}]: is the same place as another one; remove one of them"
            )
    return found


def _errors(one: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with one repository."""
    kind = one["type"]
    for key in NEEDS[kind]:
        if not one[key]:
            yield f"{key}: is missing; type {kind} needs it"
    for key, of in OWN.items():
        if one[key] and kind != of:
            yield f"{key}: is of type {of}, and this one is {kind}; remove it"
    if not PATH.fullmatch(one["path"]):
        yield f"path: {one['path']!r} must be an absolute path of letters, digits, '.', '_' and '-'"
    if kind == "local" and HIDDEN.match(one["path"]):
        yield f"path: {one['path']} is hidden from the units that back up, as /home, /root and /tmp are; name another"
    secret = str(one["passphrase"])
    if (kind != "local" or secret) and (
        len(secret) < MIN_PASSPHRASE or not PLAIN.fullmatch(secret)
    ):
        yield (
            f"passphrase: must be a text of {MIN_PASSPHRASE} characters or more of ASCII; "
            "'openssl rand -base64 48' makes one"
        )
    for key in ("access_key", "secret_key", "bucket", "endpoint", "region"):
        if one[key] and not PLAIN.fullmatch(str(one[key])):
            yield f"{key}: must be one line of ASCII"
    if one["host"] and not HOST.fullmatch(one["host"]):
        yield f"host: {one['host']!r} is no name and no address"
    if "://" in one["endpoint"]:
        yield "endpoint: takes a host name alone; remove the scheme, and write a port as endpoint_port"
    if one["ca_file"] and not Path(one["ca_file"]).is_file():
        yield f"ca_file: {one['ca_file']} is no file on the control node; write the absolute path of one"
    if one["private_key"] and not str(one["private_key"]).startswith("-----BEGIN"):
        yield "private_key: is no private key; it begins with -----BEGIN"
    for key in one["host_keys"]:
        if len(str(key).split()) < 2 or "\n" in str(key).strip():
            yield "host_keys: each must be a public key such as 'ssh-ed25519 AAAA…', without the host's name"
    for key in ("full", "diff"):
        if int(one[key]) < 1:
            yield f"{key}: is {one[key]}, and must be 1 or more"


def _state(text: str) -> dict[str, Any]:
    """Return what a host has noted of its repositories, by name; empty if it has noted nothing."""
    try:
        said: dict[str, Any] = json.loads(text)["repositories"]
    except (ValueError, KeyError):
        return {}
    return said


def size(number: float) -> str:
    """Return a number of bytes as one speaks of it."""
    for unit in ("B", "kB", "MB"):
        if number < 1000:
            return f"{number:.0f} {unit}"
        number /= 1000
    return f"{number:.1f} GB"


def when(at: float) -> str:
    """Return a time in seconds since 1970 as people read it."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"


def came(text: str, host: str) -> list[str]:
    """Return what came of backups and drills, a line for each repository, from the text of ``state.json``."""
    lines = []
    for name, of in _state(text).items():
        backup, drill = of.get("backup"), of.get("drill")
        words = f"{host}, {name}: "
        if backup:
            words += (
                f"{backup['type']} backup {backup['label']} of {when(backup['ended'])}, up to {backup['lsn']}; "
                f"{size(backup['size'])}, {size(backup['stored'])} in the repository, {backup['seconds']} s."
            )
        else:
            words += "no backup."
        if of.get("backup_ok") is False:
            words += f" The last try FAILED: {of['backup_said']}."
        if drill and drill["ok"]:
            words += f" Proven {when(drill['ended'])}:"
            words += f" {size(drill['size'])} restored and checked in {drill['seconds']} s."
        elif drill:
            words += f" NOT PROVEN {when(drill['ended'])}: {drill['said']}."
        lines.append(words)
    return lines or [f"{host}: nothing was noted yet"]


def plan(said: Mapping[str, Any], host: str, live: bool, stop: list[str], aside: bool) -> list[str]:
    """Return what a restore is going to do."""
    source = f"the {said['type']} backup {said['backup']} of {said['ended']} ({said['size']})"
    source += f" in repository {said['repository']}"
    lines = [f"{host}: restores {said['target']}, from {source}"]
    if live:
        units = (
            f"the units of {', '.join(stop)} stop meanwhile"
            if stop
            else "no application is stopped"
        )
        kept = (
            "what there is is kept aside until the restored server is up"
            if aside
            else "NOTHING of what there is is kept: the backups are all there is"
        )
        lines.append(f"It goes OVER the live server: {units}, and {kept}.")
    else:
        lines.append(
            "It goes into a server of its own, beside the live one, which goes on serving."
        )
    return lines


def did(said: Mapping[str, Any], host: str, live: bool) -> list[str]:
    """Return what a restore has done."""
    last = (
        f", whose last transaction was at {said['last_transaction']}"
        if said["last_transaction"]
        else ""
    )
    lines = [
        f"{host}: restored up to {said['lsn']}, timeline {said['timeline']}{last}: {said['size']} in "
        f"{said['seconds']} s ({said['seconds_per_gb']} s/GB). "
        f"Databases: {', '.join(said['databases']) or 'none'}."
    ]
    if not live:
        lines.append(
            f"It answers by its socket alone: sudo -u postgres psql -h {said['socket']} -d <database>"
        )
        lines.append("It goes by ansible-playbook playbooks/restore.yml -e scratch=remove")
        return lines
    if said["not_started"]:
        lines.append(f"NOT ALL of what was stopped has started again: {said['not_started']}")
    lines.append(
        "The live server has it now, and a backup of it is under way."
        if said["backed_up"]
        else "The live server has it now, and there is NO backup of it until site.yml has run."
    )
    if said["to_migrate"]:
        lines.append(
            f"It is from before these releases migrated, which they do again when they are released: "
            f"{', '.join(said['to_migrate'])}"
        )
    return lines


def lost(said: Mapping[str, Any], host: str, app: str) -> str:
    """Return what a return to a restore point loses, and how to confirm it."""
    point, others = said["point"], said["others"]
    rows = (
        f", {said['rows']} rows written in {point['database']}" if said["rows"] is not None else ""
    )
    lines = [
        f"{host}: the database goes back to {point['time']}, before release {point['release']} migrated, which was "
        f"{span(said['seconds'])} ago ({said['seconds']} s). All that was written since is LOST: about "
        f"{said['transactions']} transactions on the whole server{rows}, {said['wal']} of WAL.",
    ]
    if others:
        lines.append(
            f"The server goes back as a whole, and with it these databases: {', '.join(others)}. They lose as much."
        )
    lines.append(f"If that is meant: -e confirm={','.join([app, *others])}")
    return "\n".join(lines)


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by the name that templates use."""
        return {
            "slipway_backup_came": came,
            "slipway_backup_did": did,
            "slipway_backup_errors": errors,
            "slipway_backup_lost": lost,
            "slipway_backup_plan": plan,
        }
