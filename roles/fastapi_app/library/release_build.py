#!/usr/bin/python
"""Build a release on the control node: the source, its locked wheels for one target, and an id for both."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_build
short_description: Build a hermetic, content-addressed release of a Python application
description:
  - Runs on the control node. Resolves the source, reads its lock, adds the server where the lock leaves it open,
    fetches the wheels for the target's Python, architecture and C library, and writes archives with all that a host
    needs.
  - The id is a digest over the source, the lock and what the server kit adds to it, for whatever target.
    The same input gives the same id, and is built once.
options:
  name: {type: str, required: true, description: The application's name; messages name its keys as apps.<name>.<key>.}
  source:
    type: str
    required: true
    description: A folder, the URL of a git repository, a wheel, an sdist, or a package of the index as name==version.
  version: {type: str, default: "", description: Branch, tag or commit of a git source.}
  folder: {type: str, default: "", description: The application's folder in the source.}
  lock: {type: str, default: "", description: Path of the lock; it is looked for if empty.}
  module: {type: str, required: true, description: 'The application, package.module:attribute, or its factory.'}
  static: {type: str, default: "", description: Folder of static files in the source.}
  frontend: {type: str, default: "", description: 'Folder of a front end, in the source or on the control node.'}
  shared: {type: list, elements: str, default: [], description: Folders that lead to what outlives releases.}
  python: {type: str, default: system, description: 'The interpreter: system, a version, or an archive.'}
  system_python: {type: str, required: true, description: 'The version of the host''s own Python, such as 3.13.5.'}
  architecture: {type: str, required: true, description: The target's machine, such as x86_64.}
  glibc: {type: str, required: true, description: The target's C library, such as 2.41.}
  source_root: {type: path, required: true, description: What a relative source or lock starts from.}
  build_dir: {type: path, required: true, description: Where releases are built and kept.}
  uv_requirements: {type: path, required: true, description: Hash-locked requirement of the uv that the host gets.}
  server_requirements: {type: path, required: true, description: Hash-locked requirements of the server kit.}
"""

RETURN = r"""
id: {description: The release's id, 12 hexadecimal digits., type: str, returned: success}
version: {description: 'What people call it: a commit or a version; empty without git.', type: str, returned: success}
target: {description: 'What it was built for, such as cp313-x86_64-glibc2.41.', type: str, returned: success}
archive: {description: 'Path of a tar: <id>/ with src, dist, static, frontend.', type: str, returned: success}
wheels_id: {description: Digest over the target and its requirements., type: str, returned: success}
wheels_archive: {description: 'Path of a tar: <wheels_id>/ with wheels and their lock.', type: str, returned: success}
uv: {description: Path of the uv binary for the target., type: str, returned: success}
uv_version: {description: Its version., type: str, returned: success}
interpreter:
  description: The id, version and archive of the Python to ship; empty where it is the host's own.
  type: dict
  returned: success
server: {description: 'What the server kit added to the lock, such as gunicorn 26.0.0.', type: list, returned: success}
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.slipway_build.files import locked
from ansible.module_utils.slipway_build.process import BuildError, redacted, secrets
from ansible.module_utils.slipway_build.release import build


def main() -> None:
    """Run as an Ansible module."""
    required = ("name", "source", "module", "system_python", "architecture", "glibc")
    optional = ("version", "folder", "lock", "static", "frontend")
    paths = ("source_root", "build_dir", "uv_requirements", "server_requirements")
    spec: dict[str, Any] = {key: {"type": "str", "required": True} for key in required}
    spec |= {key: {"type": "str", "default": ""} for key in optional}
    spec |= {key: {"type": "path", "required": True} for key in paths}
    spec["shared"] = {"type": "list", "elements": "str", "default": []}
    spec["python"] = {"type": "str", "default": "system"}
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    module.no_log_values.update(secrets(module.params["source"]))
    try:
        with locked(Path(module.params["build_dir"]) / "lock"):
            module.exit_json(**build(module.params))
    except BuildError as error:
        module.fail_json(msg=redacted(f"apps.{module.params['name']}.{error}"))


if __name__ == "__main__":
    main()
