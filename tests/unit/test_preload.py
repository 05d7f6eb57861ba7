"""The callback `preload` has filters loaded once for a run, and not once for each task."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import ROOT

FILTER = """
import os
from pathlib import Path

with (Path(__file__).parent / "loaded").open("a") as file:
    file.write(f"{os.getpid()}\\n")


class FilterModule:
    def filters(self):
        return {"same": lambda value: value}
"""
PLAYBOOK = """
- hosts: localhost
  gather_facts: false
  tasks:
    - ansible.builtin.assert: {that: item | same == item}
      loop: [1, 2]
    - ansible.builtin.assert: {that: 1 | same == 1}
    - ansible.builtin.assert: {that: 2 | same == 2}
"""


@pytest.mark.parametrize(("plugins", "once"), [(ROOT / "plugins/callback", True), ("none", False)])
def test_a_filter_is_loaded_once_for_all_tasks(
    tmp_path: Path, plugins: Path | str, once: bool
) -> None:
    (tmp_path / "filter").mkdir()
    (tmp_path / "filter/same.py").write_text(FILTER)
    (tmp_path / "play.yml").write_text(PLAYBOOK)
    told = {
        "ANSIBLE_CALLBACK_PLUGINS": str(plugins),
        "ANSIBLE_CALLBACKS_ENABLED": "preload",
        "ANSIBLE_FILTER_PLUGINS": str(tmp_path / "filter"),
        "ANSIBLE_LOCALHOST_WARNING": "false",
    }
    command = [
        str(Path(sys.executable).parent / "ansible-playbook"),
        "-i",
        "localhost,",
        "play.yml",
    ]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, **told},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    processes = (tmp_path / "filter/loaded").read_text().split()
    assert (len(processes) == 1) is once, processes
