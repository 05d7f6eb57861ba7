"""The inventory as a text that a person keeps: an entry comes to it, and all else stays to the letter."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from appraise import Refusal
from appraise.source import read

BLOCK = re.compile(r"^apps:[ \t]*(#.*)?$", re.MULTILINE)


class AnyTag(yaml.SafeLoader):
    """Reads an inventory for its shape; what a tag such as !vault means is Ansible's affair."""


AnyTag.add_multi_constructor("!", lambda loader, suffix, node: str(node.value))


def variables_file(inventory: Path) -> Path:
    """Return the file of an inventory that has its applications.

    Raises:
        Refusal: There is no such inventory, or it has no block ``apps:``.
    """
    if not inventory.is_dir():
        raise Refusal(
            f"there is no inventory {inventory}; 'cp -r inventories/single {inventory}' makes one"
        )
    usual = inventory / "group_vars/all/main.yml"
    others = [*sorted(inventory.glob("group_vars/all/*.yml")), inventory / "group_vars/all.yml"]
    for path in (usual, *others):
        if BLOCK.search(read(path)):
            return path
    raise Refusal(
        f"{usual} has no block 'apps:'; write 'apps:' there, on a line of its own, and run this again"
    )


def apps_of(text: str) -> dict[str, Any]:
    """Return the applications in a file of an inventory.

    Raises:
        Refusal: It is no YAML, or they are no dict.
    """
    try:
        said = yaml.load(text, Loader=AnyTag)
    except yaml.YAMLError as error:
        raise Refusal(f"the inventory can't be read; mend it first: {error}") from error
    apps = said["apps"] or {}
    if not isinstance(apps, dict):
        raise Refusal(
            "the inventory's 'apps' is no dict; write each application there as '<name>:', and its keys below"
        )
    return apps


def inserted(text: str, entry: list[str]) -> str:
    """Return the text of a file with an entry at the end of its block ``apps:``.

    Raises:
        Refusal: The block has a form that can't be added to.
    """
    lines = text.splitlines(keepends=True)
    start = next(number for number, line in enumerate(lines) if BLOCK.match(line)) + 1
    end, indent = start, ""
    for number, line in enumerate(lines[start:], start + 1):
        if re.match(r"[^\s#]", line):
            break
        if re.match(r"[ \t]+\S", line):  # comments that are indented are the block's, too
            end = number
            indent = indent or (re.match(r" *(?=[^\s#])", line) or [""])[0]
    before = "".join(lines[:end])
    newline = "" if before.endswith("\n") else "\n"
    gap = "\n" if end > start else ""
    block = "".join(f"{indent or '  '}{line}\n" for line in entry)
    result = f"{before}{newline}{gap}{block}{''.join(lines[end:])}"
    if apps_of(result) != apps_of(text) | yaml.safe_load("\n".join(entry)):
        raise Refusal(
            "the block 'apps:' can't be added to; write this into it:\n\n" + "\n".join(entry)
        )
    return result


def without_board(text: str) -> str:
    """Return the example inventory with the board commented out, which asks for a domain and a token of its own."""
    lines, within = [], False
    for line in text.splitlines(keepends=True):
        within = line.startswith("  board:") or (within and line.startswith("    "))
        if within:
            line = f"  # {line[2:]}"
        elif line.startswith("fastapi_app_board"):
            line = f"# {line}"
        lines.append(line)
    return "".join(lines)
