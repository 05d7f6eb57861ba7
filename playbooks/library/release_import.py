#!/usr/bin/python
"""Import a release's application on the control node, in an environment of its own that is gone afterwards."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_import
short_description: Import the application of a release in a scratch environment on the control node
description:
  - Takes what the module C(release_build) has built, and does what a host would do with it, up to the import. That runs
    the application's code as whoever runs this, with the settings that are given.
  - It needs an interpreter of the release's version on the control node. Without one, nothing is done.
options:
  module: {type: str, required: true, description: 'The application, as package.module:attribute.'}
  archive: {type: path, required: true, description: The release.}
  wheels_archive: {type: path, required: true, description: Its wheels.}
  target: {type: str, required: true, description: 'What both are for, such as cp313-x86_64-glibc2.41.'}
  interpreter: {type: path, default: "", description: The archive of the interpreter that it brings.}
  environment: {type: str, default: "{}", description: The application's environment as JSON.}
  secrets: {type: str, default: "", description: What it gets as files, as JSON.}
  generated: {type: list, elements: str, default: [], description: Names of secrets that its host makes up.}
  generated_as: {type: str, default: environment, choices: [environment, files], description: How it gets those.}
  timeout: {type: int, default: 30, description: Seconds that the import may take.}
"""

RETURN = r"""
outcome: {description: 'One of imported, failed, unsure or impossible.', type: str, returned: always}
said: {description: The reason, in a line., type: str, returned: always}
"""

import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

IMPORT = "import sys; from gunicorn.util import import_app; import_app(sys.argv[1])"
# What an import may lack here and find on the host: its database, its folders, the network.
ELSEWHERE = re.compile(
    r"(\w+\.)*(\w*Connect\w*|\w*OperationalError|OSError|FileNotFoundError|PermissionError|TimeoutError|gaierror)\b"
)


def run(*command: str | Path, cwd: Path, environment: dict[str, str], timeout: int) -> str | None:
    """Run a command, and return the end of what it says if it fails, or None.

    Raises:
        subprocess.TimeoutExpired: It took too long. It is ended, with all that it has started.
    """
    with subprocess.Popen(
        command,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            said, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return said.strip() if process.returncode else None


def interpreter(target: str, archive: str, scratch: Path) -> Path | None:
    """Return a Python of a target's version that runs here, if there is one."""
    version, machine, _ = target.split("-")[:3]
    if machine != platform.machine():
        return None
    if archive:
        return unpacked(archive, scratch / "python") / "bin/python3"
    minor = f"3.{version.removeprefix('cp3')}"
    for name in (sys.executable, f"python{minor}", "/usr/bin/python3"):
        if path := shutil.which(name):
            asked = (path, "-c", "import sys; print('%d.%d' % sys.version_info[:2])")
            done = subprocess.run(asked, capture_output=True, text=True, check=False)
            if done.stdout.strip() == minor:
                return Path(path)
    return None


def unpacked(archive: str, folder: Path) -> Path:
    """Return the one folder in a tar, unpacked into another."""
    folder.mkdir()
    subprocess.run(
        ["tar", "--extract", "--no-same-owner", "--file", archive], cwd=folder, check=True
    )
    (top,) = folder.iterdir()
    return top


def reason(said: str, environment: dict[str, str]) -> str:
    """Return the line that tells why an import failed, without the values of any setting."""
    # pydantic's message has many lines, and shows the values that it refuses; long ones in part.
    said = re.sub(r"\[type=.*?, input_(value|type)=.*", "", said)
    for value in sorted(environment.values(), key=len, reverse=True):
        if len(value) >= 4:
            said = said.replace(value, "…")
    lines = [line for line in said.splitlines() if line.strip()] or ["nothing"]
    # The last line that isn't indented begins the exception; what follows belongs to it.
    start = max((n for n, line in enumerate(lines) if not line[0].isspace()), default=0)
    if validation := [n for n, line in enumerate(lines) if "validation error" in line]:
        start = validation[-1]
    text = " ".join(
        line.strip() for line in lines[start : start + 7] if "errors.pydantic" not in line
    )
    return text if len(text) <= 300 else f"{text[:300]}…"


def tried(params: dict[str, Any], scratch: Path) -> dict[str, str]:
    """Return what came of an import: ``outcome`` and ``said``."""
    python = interpreter(params["target"], params["interpreter"], scratch)
    version = params["target"].split("-")[0].removeprefix("cp3")
    if python is None:
        machine = params["target"].split("-")[1]
        return {"outcome": "impossible", "said": f"no Python 3.{version} for {machine} here"}
    release = unpacked(params["archive"], scratch / "release")
    wheels = unpacked(params["wheels_archive"], scratch / "wheels")
    venv = release / "venv"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    uv = shutil.which("uv", path=path) or "uv"
    alone = dict.fromkeys(("UV_OFFLINE", "UV_NO_INDEX", "UV_NO_CONFIG", "UV_NO_CACHE"), "1")
    alone |= {"PATH": os.environ["PATH"], "HOME": str(scratch), "UV_PYTHON_DOWNLOADS": "never"}
    install = (uv, "pip", "install", "--quiet", "--python", venv)
    locked = ("--require-hashes", "--requirement", wheels / "requirements.txt")
    steps: list[tuple[str | Path, ...]] = [
        (uv, "venv", "--quiet", "--python", python, venv),
        (*install, "--find-links", wheels, *locked),
    ]
    if own := sorted((release / "dist").glob("*.whl")):
        steps.append((*install, "--no-deps", *own))
    source = release / "src"
    source.mkdir(exist_ok=True)
    for step in steps:
        if said := run(*step, cwd=source, environment=alone, timeout=300):
            # Its wheels are for the host's C library, which may be newer than this machine's.
            return {"outcome": "impossible", "said": reason(said, {})}
    if not own and (source / "src").is_dir():
        (site,) = venv.glob("lib/python*/site-packages")
        (site / "source.pth").write_text(f"{source / 'src'}\n")
    given = json.loads(params["environment"])
    # What the host is to make up isn't there yet; anything will do to be imported with.
    made = dict.fromkeys(params["generated"], "x" * 64)
    files = json.loads(params["secrets"] or "{}")
    given, files = (
        (given, files | made) if params["generated_as"] == "files" else (given | made, files)
    )
    environment = {name: text(value) for name, value in given.items()}
    if files:
        folder = scratch / "secrets"
        folder.mkdir(mode=0o700)
        for name, value in files.items():
            (folder / name).write_text(value)
        environment["CREDENTIALS_DIRECTORY"] = str(folder)
    own_path = {"PATH": f"{venv / 'bin'}:/usr/bin:/bin", "HOME": str(scratch), "LANG": "C.UTF-8"}
    command = (venv / "bin/python", "-c", IMPORT, params["module"])
    limit = params["timeout"]
    try:
        failure = run(*command, cwd=source, environment=own_path | environment, timeout=limit)
    except subprocess.TimeoutExpired:
        return {"outcome": "unsure", "said": f"the import wasn't over after {limit} s"}
    if failure is None:
        return {"outcome": "imported", "said": f"by Python 3.{version}"}
    why = reason(failure, environment | files)
    return {"outcome": "unsure" if ELSEWHERE.match(why) else "failed", "said": why}


def text(value: Any) -> str:
    """Return a setting as the environment has it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(
        argument_spec={
            "module": {"type": "str", "required": True},
            "archive": {"type": "path", "required": True},
            "wheels_archive": {"type": "path", "required": True},
            "target": {"type": "str", "required": True},
            "interpreter": {"type": "path", "default": ""},
            # One text, and not a dict: each value of that would be blotted out of what is said, such as 1.
            "environment": {"type": "str", "default": "{}", "no_log": True},
            "secrets": {"type": "str", "default": "", "no_log": True},
            "generated": {"type": "list", "elements": "str", "default": [], "no_log": False},
            "generated_as": {
                "type": "str",
                "default": "environment",
                "choices": ["environment", "files"],
            },
            "timeout": {"type": "int", "default": 30},
        },
        supports_check_mode=True,
    )
    with tempfile.TemporaryDirectory(prefix="slipway-") as scratch:
        module.exit_json(changed=False, **tried(module.params, Path(scratch)))


if __name__ == "__main__":
    main()
