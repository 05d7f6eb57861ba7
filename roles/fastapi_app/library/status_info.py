#!/usr/bin/python
"""Tell how the applications on a host are: what serves since when, how it answers, who works, what happened last."""

from __future__ import annotations

DOCUMENTATION = r"""
module: status_info
short_description: How the applications on a host are
description:
  - One look for playbooks/status.yml, at all applications side by side. It changes nothing.
options:
  root: {type: path, required: true, description: The folder under which each application has its own.}
  apps:
    description: The applications.
    type: list
    elements: dict
    required: true
    options:
      name: {type: str, required: true, description: Its name.}
      host: {type: str, required: true, description: 'The host name that its health is asked with.'}
      health: {type: str, required: true, description: 'The path that answers 200, as the application names it.'}
      site: {type: str, required: true, description: 'The site that it belongs to, which names the certificate.'}
  timeout: {type: float, default: 5, description: Seconds that an answer may take.}
"""

RETURN = r"""
now: {description: 'The host''s clock, in seconds since 1970.', type: float, returned: success}
nginx: {description: 'State of its unit: active, failed, …; empty if there is none.', type: str, returned: success}
postgresql: {description: The same of PostgreSQL's clusters., type: str, returned: success}
apps:
  description: A dict by application.
  type: dict
  returned: success
  contains:
    release: {description: 'The id of the release that serves; empty if none does.', type: str}
    version: {description: 'Its version, if its source has one.', type: str}
    slot: {description: 'The slot that serves, blue or green.', type: str}
    unit: {description: Its unit., type: str}
    state: {description: 'What systemd says of that: active, failed, …', type: str}
    warm: {description: 'The other slot if it still runs, else empty.', type: str}
    since: {description: 'When it was switched to, in seconds since 1970.', type: float}
    health: {description: 'status (0 for no answer), milliseconds, and error, if any.', type: dict}
    workers: {description: 'alive; wanted; restarts of the unit by systemd since it was started.', type: dict}
    deployed: {description: 'The last line of the ledger, empty if there is none.', type: dict}
    certificate: {description: 'When it ends, in seconds since 1970; 0 if there is none.', type: float}
    renewal: {description: 'Of one that is ordered, what came of the last try: at, ok, said; else empty.', type: dict}
    maintenance: {description: 'Since when it is closed, in seconds since 1970; 0 if it is not.', type: float}
"""

import http.client
import json
import os
import re
import ssl
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.slipway_release import slots, systemd

TLS = Path("/etc/slipway/tls")
ORDERS = Path("/var/lib/slipway/acme/state")
MAINTENANCE = Path("/var/lib/slipway/maintenance")
# Of a unit: what systemctl show is asked for.
PROPERTIES = ("Id", "LoadState", "ActiveState", "MainPID", "NRestarts")
AT_REST = ("inactive", "failed", "")


def health(path: Path, host: str, url: str, timeout: float) -> dict[str, Any]:
    """Return how an application answers on its socket: status, milliseconds, error."""
    began = time.monotonic()
    connection = systemd.UnixConnection(path, timeout)
    try:
        connection.request("GET", url, headers={"Host": host, "X-Forwarded-Proto": "https"})
        answer = connection.getresponse()
        answer.read()
        status, error = answer.status, ""
    except TimeoutError:
        status, error = 0, f"no answer in {timeout:g} s"
    except (OSError, http.client.HTTPException) as raised:
        status, error = 0, str(getattr(raised, "strerror", None) or raised).lower()
    finally:
        connection.close()
    return {
        "status": status,
        "error": error,
        "milliseconds": round((time.monotonic() - began) * 1000, 1),
    }


def units(said: str) -> dict[str, dict[str, str]]:
    """Return what ``systemctl show`` says of each unit, by its name."""
    blocks = (
        dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        for block in said.split("\n\n")
    )
    return {block["Id"]: block for block in blocks if block.get("LoadState") == "loaded"}


def wanted(settings: Path) -> int:
    """Return how many workers a slot's server is to have; 0 if it has none."""
    try:
        found = re.search(r"(?m)^workers = (.+)$", settings.read_text())
    except OSError:
        return 0
    if not found:
        return 0
    return int(found[1]) if found[1].isdigit() else len(os.sched_getaffinity(0))


def version(release: Path) -> str:
    """Return the version of a release, empty if it has none."""
    try:
        return str(json.loads((release / "release.json").read_text()).get("version") or "")
    except (OSError, ValueError):
        return ""


def changed(path: Path) -> float:
    """Return when a file or a link was made, in seconds since 1970; 0 if there is none."""
    try:
        return path.lstat().st_mtime
    except OSError:
        return 0


def state(
    root: Path, timeout: float, known: dict[str, dict[str, str]], ends: dict[str, float], app: Any
) -> dict[str, Any]:
    """Return the state of one application, as RETURN lists it."""
    name = app["name"]
    home = root / name
    live = slots.target_name(home / "live")
    other = {"blue": "green", "green": "blue"}.get(live, "")
    release = home / "live/release"
    unit = known.get(f"{name}@{live}.service", {})
    return {
        "release": release.resolve().name if release.exists() else "",
        "version": version(release),
        "slot": live,
        "unit": f"{name}@{live}.service" if live else "",
        "state": unit.get("ActiveState", ""),
        "warm": other
        if known.get(f"{name}@{other}.service", {}).get("ActiveState", "") not in AT_REST
        else "",
        "since": changed(home / "live"),
        "health": health(home / "live/app.sock", app["host"], app["health"], timeout)
        if live
        else {"status": 0, "milliseconds": 0, "error": ""},
        "workers": {
            "alive": len(systemd.children(int(unit.get("MainPID", "0")))),
            "wanted": wanted(home / "live/slipway_server.py"),
            "restarts": int(unit.get("NRestarts") or 0),
        },
        "deployed": next(reversed(slots.ledger(home)), {}),
        "certificate": ends.get(app["site"], 0),
        "renewal": renewal(app["site"]),
        "maintenance": changed(MAINTENANCE / name / "on"),
    }


def renewal(site: str) -> dict[str, Any]:
    """Return what came of the last try to order a site's certificate; empty if there was none."""
    try:
        said: dict[str, Any] = json.loads((ORDERS / f"{site}.json").read_text())
    except (OSError, ValueError):
        return {}
    return {key: said.get(key) for key in ("at", "ok", "said")}


def certificates(module: AnsibleModule, sites: Iterable[str]) -> dict[str, float]:
    """Return when the certificate of each site ends, in seconds since 1970; none for a site without."""
    found: dict[str, float] = {}
    for site in sites:
        path = TLS / site / "fullchain.pem"
        if path.is_file():
            command = ["openssl", "x509", "-noout", "-enddate", "-in", str(path)]
            _, said, _ = module.run_command(command)
            if said.startswith("notAfter="):
                found[site] = ssl.cert_time_to_seconds(said.strip().partition("=")[2])
    return found


def together(states: list[str]) -> str:
    """Return the state of several units as that of one: the first that isn't active, if any."""
    return next((one for one in states if one != "active"), "active") if states else ""


def main() -> None:
    """Run as an Ansible module."""
    app = {key: {"type": "str", "required": True} for key in ("name", "host", "health", "site")}
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "required": True},
            "apps": {"type": "list", "elements": "dict", "required": True, "options": app},
            "timeout": {"type": "float", "default": 5},
        },
        supports_check_mode=True,
    )
    apps = module.params["apps"]
    names = [f"{one['name']}@{slot}.service" for one in apps for slot in ("blue", "green")]
    # A pattern, which names those that systemd has loaded: on a host without PostgreSQL there are none.
    command = ["systemctl", "show", f"--property={','.join(PROPERTIES)}", "nginx.service"]
    _, said, _ = module.run_command([*command, "postgresql@*.service", *names])
    known = units(said)
    ends = certificates(module, {one["site"] for one in apps})
    look = partial(state, Path(module.params["root"]), module.params["timeout"], known, ends)
    # Side by side: each that is silent takes all of its time.
    with ThreadPoolExecutor(max_workers=16) as pool:
        found = dict(zip([one["name"] for one in apps], pool.map(look, apps), strict=True))
    clusters = [one["ActiveState"] for name, one in known.items() if name.startswith("postgresql@")]
    module.exit_json(
        changed=False,
        now=time.time(),
        nginx=known.get("nginx.service", {}).get("ActiveState", ""),
        postgresql=together(clusters),
        apps=found,
    )


if __name__ == "__main__":
    main()
