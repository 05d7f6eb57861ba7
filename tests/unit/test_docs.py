"""What the documents point to is there, and the commands that they name exist."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LISTED = subprocess.run(
    ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=True,
)
DOCUMENTS = sorted(path for path in LISTED.stdout.splitlines() if (ROOT / path).exists())
# Of the role that docs/adding-a-role.md makes up.
EXAMPLES = {"tests/templates/test_cache.py"}
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    text = (ROOT / document).read_text()
    for link in re.findall(r"\]\((?![a-z]+:)([^)#]+)[^)]*\)", text):
        assert ((ROOT / document).parent / link).exists(), link


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_and_make_targets_that_are_named_exist(document: str) -> None:
    text = (ROOT / document).read_text()
    for target in re.findall(r"(?:`|&& |^)make (?:-s )?([a-z]+)", text, re.MULTILINE):
        assert target in TARGETS, target
    for path in re.findall(r"`((?:playbooks|tests|molecule|roles|docs|scripts)/[\w./-]+)`", text):
        assert (ROOT / path).exists() or path in EXAMPLES, path
