#!/usr/bin/python
"""Close an application at the edge, or open it again, by files that Nginx looks for at each request."""

from __future__ import annotations

DOCUMENTATION = r"""
module: maintenance
short_description: Maintenance of one application, on and off
description:
  - Writes what Nginx answers meanwhile, and whom it lets pass, into the application's folder, and C(on) last.
  - Off takes that file alone away, since a request that has just seen it is about to read the page.
options:
  folder: {type: path, required: true, description: The application's folder.}
  state: {type: str, required: true, choices: ["on", "off"], description: Whether the application is closed.}
  page: {type: str, default: "", description: 'The page, in HTML.'}
  page_from: {type: path, description: 'A file on the host with the page, instead.'}
  problem: {type: str, default: "", description: 'What programs get, as application/problem+json.'}
  allow: {type: list, elements: str, default: [], description: Names of the files that let clients pass.}
"""

RETURN = r"""
since: {description: 'Since when it is closed, in seconds since 1970; 0 if it is not.', type: int, returned: success}
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

SITES = Path("/etc/nginx/conf.d")


def contents(folder: Path) -> dict[str, str]:
    """Return what a folder holds: the text of each file by its path in it; of those let pass, the name alone."""
    files = {
        name: (folder / name).read_text(errors="replace")
        for name in ("page.html", "page.json", "on")
        if (folder / name).is_file()
    }
    return files | {f"allow/{path.name}": "" for path in folder.glob("allow/*")}


def write(path: Path, text: str) -> None:
    """Put a file in place as a whole, since a request may be reading it; everybody may read it, root alone write it."""
    for folder in reversed(
        path.parents
    ):  # each by itself, since a mode is not handed on to the folders above
        if not folder.exists():
            folder.mkdir()
            folder.chmod(0o755)
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    new.chmod(0o644)
    new.replace(path)


def summary(files: dict[str, str]) -> dict[str, Any]:
    """Return what a folder's files come to, for a diff."""
    if "on" not in files:
        return {"maintenance": "off"}
    allow = sorted(name.partition("/")[2] for name in files if name.startswith("allow/"))
    return {"maintenance": "on", "problem": files.get("page.json", ""), "allow": allow}


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(
        argument_spec={
            "folder": {"type": "path", "required": True},
            "state": {"type": "str", "required": True, "choices": ["on", "off"]},
            "page": {"type": "str", "default": ""},
            "page_from": {"type": "path"},
            "problem": {"type": "str", "default": ""},
            "allow": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    given = module.params
    folder = Path(given["folder"])
    before = contents(folder)
    after = {name: text for name, text in before.items() if name != "on"}
    if given["state"] == "on":
        sites = (path.read_text() for path in SITES.glob("slipway-*.conf"))
        if not any(f"{folder}/on" in text for text in sites):
            module.fail_json(
                msg=f"Nginx has no site that knows of {folder.name}, or one from before there was maintenance. "
                "Run site.yml, then this again."
            )
        page = given["page"]
        if own := given["page_from"]:
            try:
                page = Path(own).read_text()
            except (OSError, UnicodeDecodeError) as error:
                module.fail_json(
                    msg=f"{folder.name} has no page of its own that can be read, {own}: {error}. "
                    "maintenance_page names a file in the source of the release that serves; mend it or remove the key."
                )
        after = {"page.html": page, "page.json": given["problem"]}
        after |= {f"allow/{name}": "" for name in given["allow"]} | {"on": ""}
    if before != after and not module.check_mode:
        for name, text in after.items():  # "on" last
            if before.get(name) != text:
                write(folder / name, text)
        for name in before.keys() - after.keys():
            (folder / name).unlink()
    on = folder / "on"
    module.exit_json(
        changed=before != after,
        since=int(on.stat().st_mtime) if on.exists() else 0,
        diff={"before": summary(before), "after": summary(after)},
    )


if __name__ == "__main__":
    main()
