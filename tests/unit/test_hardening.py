"""The table of what came of attacks says nothing that wasn't so."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from tests import hardening
from tests.stack import Stack

ROOT = Path(__file__).resolve().parents[2]


def test_an_attack_is_refused_only_if_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    found: hardening.Table = {"one": {}, "two": {}}
    monkeypatch.setattr(hardening, "attacks", found)
    stack = Stack("h1", Path("none.pem"))
    with hardening.attack(stack, "one"):
        pass
    with pytest.raises(ZeroDivisionError), hardening.attack(stack, "two"):
        _ = 1 / 0
    assert found == {"one": {"h1": "refused"}, "two": {"h1": "NOT REFUSED"}}


def test_each_host_has_a_column_and_what_was_not_asked_of_it_is_empty() -> None:
    found = {"index": {"bare": "60", "hard": "85"}, "ports": {"hard": "22"}}
    assert hardening.table(found) == (
        "| | bare | hard |\n| --- | --- | --- |\n| index | 60 | 85 |\n| ports |  | 22 |"
    )


def test_the_checklist_is_what_the_docs_show_and_each_line_an_option(filters: ModuleType) -> None:
    checklist = ROOT / "molecule/hardening/vars/checklist.yml"
    (shown,) = re.findall(
        r"^## For who .*?^```yaml\n(.*?)^```", (ROOT / "docs/hardening.md").read_text(), re.M | re.S
    )
    said = yaml.safe_load(checklist.read_text())
    assert yaml.safe_load(shown) == said
    for name, value in said.items():
        role = ROOT / "roles" / name.partition("_")[0]
        assert filters.unknown_options([name], str(role)) == []
        default = yaml.safe_load((role / "defaults/main.yml").read_text())[name]
        assert default != value, f"{name} is that already"
        if isinstance(default, list):
            assert set(default) <= set(value), f"{name} has lost something"


def test_a_report_of_lynis_is_read_and_what_it_says_is_in_the_table(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found: hardening.Table = defaultdict(dict)
    monkeypatch.setattr(hardening, "verdicts", found)
    text = "# a comment\nhardening_index=71\nwarning[]=A|one|\nsuggestion[]=B|x=y|\nsuggestion[]=C|z|\n"
    report = hardening.read(text)
    hardening.noted("h1", report, ", then")
    assert found == {
        "Lynis: hardening index, then": {"h1": "71"},
        "Lynis: warnings, then": {"h1": "1"},
        "Lynis: suggestions, then": {"h1": "2"},
    }
    said = hardening.left(report).splitlines()
    assert said[1:] == ["warning: A|one|", "suggestion: B|x=y|", "suggestion: C|z|"]


def test_who_looks_for_the_secret_looks_for_that_of_the_inventory() -> None:
    inventory = ROOT / "molecule/hardening/inventory/group_vars/all.yml"
    secrets = yaml.safe_load(inventory.read_text())["apps"]["tally"]["secrets"]
    # In brackets, so that the command doesn't find itself.
    looked_for = hardening.TALLYS_SECRET.replace("[", "").replace("]", "")
    assert looked_for == secrets["TALLY_KEY"] != hardening.TALLYS_SECRET


def test_what_the_secrets_tests_look_for_is_in_the_inventory() -> None:
    inventory = ROOT / "molecule/hardening/inventory/group_vars/all.yml"
    keeper = yaml.safe_load(inventory.read_text())["apps"]["keeper"]
    secrets = (ROOT / "molecule/hardening/tests/test_secrets.py").read_text()
    found = dict(re.findall(r'^(TOKEN|PASSWORD)\b.*? = "([^"]+)"', secrets, re.M))
    assert found["PASSWORD"] == keeper["database"]["password"]
    assert f"'{found['TOKEN']}'" in keeper["secrets"]["TOKEN"]
    prepared = (ROOT / "molecule/hardening/prepare.yml").read_text()
    for name in yaml.safe_load(inventory.read_text())["apps"]:
        assert f"tests/apps/{name} " in prepared, name
