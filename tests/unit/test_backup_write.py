"""Folders and files come about as they are described, whatever the host's umask."""

from __future__ import annotations

import grp
import io
import json
import os
import pwd
import sys
from pathlib import Path

import pytest

from .conftest import load


def test_a_hardened_umask_closes_no_folder_above(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write = load("roles/backup/files/write.py")
    names = {"owner": pwd.getpwuid(os.getuid())[0], "group": grp.getgrgid(os.getgid())[0]}
    wanted = [
        {"path": f"{tmp_path}/above/folder", "mode": "0750", **names},
        {"path": f"{tmp_path}/above/folder/file", "mode": "0640", "content": "x", **names},
    ]
    monkeypatch.setattr(sys, "argv", ["write.py"])
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(wanted)))
    before = os.umask(0o077)
    try:
        write.main()
    finally:
        os.umask(before)
    modes = {name: (tmp_path / name).stat().st_mode & 0o777 for name in ("above", "above/folder")}
    assert modes == {"above": 0o755, "above/folder": 0o750}
    assert (tmp_path / "above/folder/file").stat().st_mode & 0o777 == 0o640
