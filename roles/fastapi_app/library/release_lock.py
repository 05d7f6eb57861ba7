#!/usr/bin/python
"""Resolve and lock, on the control node, the dependencies of an application that brings no lock of its own."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_lock
short_description: Lock the dependencies of a Python application into locks/<name>.txt
description:
  - Runs on the control node. Resolves what the source's pyproject.toml, setup.py, requirements.in or requirements.txt
    asks for, or a wheel, or a package of the index, for all targets at once, and writes exact versions with hashes.
  - Versions that the file has already are kept where they fit. To take the newest of everything, remove it first.
options:
  name: {type: str, required: true, description: The application's name; messages name its keys as apps.<name>.<key>.}
  source: {type: str, required: true, description: As in release_build.}
  version: {type: str, default: "", description: As in release_build.}
  folder: {type: str, default: "", description: As in release_build.}
  lock: {type: str, default: "", description: As in release_build; anything but locks/<name>.txt is refused.}
  python: {type: str, default: system, description: As in release_build; one older than Debian 12's counts.}
  source_root: {type: path, required: true, description: 'What a relative source starts from, and where locks/ is.'}
  build_dir: {type: path, required: true, description: Where sources are kept.}
"""

RETURN = r"""
path: {description: The file., type: str, returned: success}
packages: {description: How many packages it locks., type: int, returned: success}
of: {description: 'What was resolved, such as pyproject.toml.', type: str, returned: success}
python: {description: 'The oldest Python that it is for, such as 3.12.', type: str, returned: success}
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.slipway_build.files import locked
from ansible.module_utils.slipway_build.process import BuildError, redacted, secrets
from ansible.module_utils.slipway_build.relock import relock


def main() -> None:
    """Run as an Ansible module."""
    spec: dict[str, Any] = {key: {"type": "str", "required": True} for key in ("name", "source")}
    spec |= {key: {"type": "str", "default": ""} for key in ("version", "folder", "lock")}
    spec |= {key: {"type": "path", "required": True} for key in ("source_root", "build_dir")}
    spec["python"] = {"type": "str", "default": "system"}
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    module.no_log_values.update(secrets(module.params["source"]))
    try:
        with locked(Path(module.params["build_dir"]) / "lock"):
            module.exit_json(**relock(module.params, write=not module.check_mode))
    except BuildError as error:
        module.fail_json(msg=redacted(f"apps.{module.params['name']}.{error}"))


if __name__ == "__main__":
    main()
