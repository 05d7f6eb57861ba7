#!/usr/bin/python
"""Send an application's requests to all of its servers but one, or to that one again."""

from __future__ import annotations

DOCUMENTATION = r"""
module: drain
short_description: Drain one server of some applications at the edge
description:
  - Marks it C(down) in all upstreams that the role has written, and notes that where the role's next run finds it.
  - Nginx has read it when this returns, if C(nginx -t) agrees; what is under way ends with the worker that began it.
  - What Nginx refuses is put back as it was.
options:
  server: {type: str, required: true, description: 'The server, nginx_sites[].apps[].servers[].name.'}
  apps: {type: list, elements: str, required: true, description: The applications' names.}
  state: {type: str, required: true, choices: ["on", "off"], description: Whether it is drained.}
  folder: {type: path, required: true, description: Where the role looks for what is drained.}
"""

RETURN = r"""
left: {description: 'By application, the servers that still get requests.', type: dict, returned: success}
"""

import contextlib
import re
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

PATIENCE = 30
SITES = Path("/etc/nginx/conf.d")
SERVER = re.compile(r"(?m)^    # (\S+)\n(    server [^;]*?)( down)?;$")


def upstream(app: str) -> re.Pattern[str]:
    """Return what finds an application's upstream."""
    return re.compile(rf"(?ms)^upstream slipway_{re.escape(app)}(?:\.open)? \{{\n.*?^\}}")


def marked(text: str, app: str, server: str, down: bool) -> str:
    """Return a site with a server of an application marked, or not."""

    def mark(found: re.Match[str]) -> str:
        if found[1] != server:
            return found[0]
        return f"    # {server}\n{found[2]}{' down' if down else ''};"

    return upstream(app).sub(lambda block: SERVER.sub(mark, block[0]), text)


def left(text: str, app: str) -> list[str]:
    """Return the servers of an application that get requests."""
    block = upstream(app).search(text)
    return [name for name, _, down in SERVER.findall(block[0]) if not down] if block else []


def write(path: Path, text: str) -> None:
    """Write a file that everybody may read, whole or not at all."""
    # A name that Nginx doesn't include.
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    new.chmod(0o644)
    new.replace(path)


def note(path: Path, down: bool) -> None:
    """Note that a server is drained, or that it isn't."""
    if down:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    else:
        path.unlink(missing_ok=True)


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(
        argument_spec={
            "server": {"type": "str", "required": True},
            "apps": {"type": "list", "elements": "str", "required": True},
            "state": {"type": "str", "required": True, "choices": ["on", "off"]},
            "folder": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    given = module.params
    server, apps, down = given["server"], given["apps"], given["state"] == "on"
    folder = Path(given["folder"])
    before = {path: path.read_text() for path in sorted(SITES.glob("slipway-*.conf"))}
    for app in apps:
        if not any(f"    # {server}\n" in block for block in blocks(before.values(), app)):
            module.fail_json(
                msg=f"Nginx has no upstream of {app} with the server {server}. Run site.yml, then this again."
            )
    after = dict(before)
    for path in after:
        for app in apps:
            after[path] = marked(after[path], app, server, down)
    remaining = {app: [one for text in after.values() for one in left(text, app)] for app in apps}
    if lonely := [app for app, servers in remaining.items() if not servers]:
        module.fail_json(
            msg=f"{server} is the last server of {', '.join(lonely)} that gets requests; let another have them first "
            "(-e state=off), or close the application with playbooks/maintenance.yml"
        )
    notes = [folder / app / server for app in apps]
    changed = before != after or any(path.exists() != down for path in notes)
    if changed and not module.check_mode:
        apply(module, before, after)
        for path in notes:
            note(path, down)
    module.exit_json(
        changed=changed,
        left=remaining,
        diff=[
            {"before": before[path], "after": after[path], "before_header": str(path), "after_header": str(path)}
            for path in before
            if before[path] != after[path]
        ],
    )  # fmt: skip


def blocks(texts: Any, app: str) -> list[str]:
    """Return the upstreams of an application in some sites."""
    return [found[0] for text in texts if (found := upstream(app).search(text))]


def taking() -> set[int]:
    """Return the workers of Nginx that take requests: one that ends is called something else."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        # A process may be gone by the time that it is looked at.
        with contextlib.suppress(OSError):
            if path.read_bytes().rstrip(b"\0 ") == b"nginx: worker process":
                found.add(int(path.parent.name))
    return found


def apply(module: AnsibleModule, before: dict[Path, str], after: dict[Path, str]) -> None:
    """Put sites into place and have Nginx read them, or put back what was there."""
    differing = [path for path in before if before[path] != after[path]]
    for path in differing:
        write(path, after[path])
    code, _, said = module.run_command(["nginx", "-t", "-q"])
    if code:
        for path in differing:
            write(path, before[path])
        module.fail_json(msg=f"Nginx refuses its configuration, which is as it was again: {said}")
    old = taking()
    module.run_command(["systemctl", "reload", "nginx"], check_rc=True)
    # The reload is asked for, not done: until the old workers stop taking requests, they send them on as before.
    deadline = time.monotonic() + PATIENCE
    while old & taking():
        if time.monotonic() > deadline:
            module.fail_json(
                msg=f"Nginx has not taken its new configuration within {PATIENCE} s of its reload; "
                "journalctl -u nginx and /var/log/nginx/error.log may tell why. Run this again."
            )
        time.sleep(0.05)
    Path("/run/nginx.slipway").touch()


if __name__ == "__main__":
    main()
