"""Make folders and files as standard input describes them, and print the paths of those that were not so.

Run by the role, in one go, since each file by a task of its own takes a second. With ``dry`` nothing is written.
"""

from __future__ import annotations

import grp
import json
import os
import pwd
import sys
from pathlib import Path
from typing import Any


def same(one: dict[str, Any], path: Path) -> bool:
    """Tell whether a path is as it should be: what is in it, its mode, its owner and its group."""
    try:
        there = path.stat()
        owners = (pwd.getpwnam(one["owner"]).pw_uid, grp.getgrnam(one["group"]).gr_gid)
        fits = (there.st_uid, there.st_gid) == owners and there.st_mode & 0o7777 == int(
            one["mode"], 8
        )
        return fits and (
            path.is_dir() if one["content"] is None else path.read_text() == one["content"]
        )
    except (OSError, KeyError, UnicodeDecodeError):
        return False


def write(one: dict[str, Any], path: Path) -> None:
    """Bring a path about, a file whole or not at all."""
    new = path
    if one["content"] is None:
        path.mkdir(parents=True, exist_ok=True)
    else:
        new = path.with_name(f".{path.name}.new")
        new.unlink(missing_ok=True)
        new.touch(mode=0o600)
        with new.open("w") as file:
            file.write(one["content"])
            file.flush()
            os.fsync(file.fileno())
    os.chown(new, pwd.getpwnam(one["owner"]).pw_uid, grp.getgrnam(one["group"]).gr_gid)
    new.chmod(int(one["mode"], 8))
    new.replace(path)


def main() -> None:
    """Do what is described."""
    os.umask(0o022)  # for folders above those that are described
    for given in json.load(sys.stdin):
        one = {"owner": "root", "group": "root", "mode": "0644", "content": None, **given}
        path = Path(one["path"])
        if not same(one, path):
            print(path)
            if sys.argv[1:] != ["dry"]:
                write(one, path)


if __name__ == "__main__":
    main()
