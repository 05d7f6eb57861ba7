"""What has served, as releases.jsonl tells it, and what a rollback returns to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from slipway_release import slots


def released(release: str, settings: str = "s") -> dict[str, Any]:
    """Return the ledger's line of a release."""
    return {"app": "shop", "release": release, "settings": settings, "status": "succeeded"}


def back(release: str, to: str, settings: str = "s") -> dict[str, Any]:
    """Return the ledger's line of a rollback."""
    return released(release, settings) | {"status": "rolled_back", "to": to}


def failed(release: str) -> dict[str, Any]:
    """Return the ledger's line of a release that came to nothing."""
    return released(release) | {"status": "failed"}


@pytest.mark.parametrize(
    ("lines", "served"),
    [
        ([], []),
        ([released("a"), released("b")], ["a", "b"]),
        ([released("a"), released("a")], ["a"]),
        ([released("a"), failed("b")], ["a"]),
        ([released("a"), released("b"), released("c"), back("c", "b")], ["a", "b"]),
        ([released("a"), released("b"), released("c"), back("c", "b"), back("b", "a")], ["a"]),
        ([released("a"), released("b"), released("c"), back("c", "a")], ["a"]),
        ([released("a"), released("b"), back("b", "a"), released("b")], ["a", "b"]),
        # To one that was taken back itself.
        ([released("a"), released("b"), back("b", "a"), back("a", "b")], ["b"]),
        # As it was written before lines had a status.
        ([{"app": "shop", "release": "a"}, released("b")], ["a", "b"]),
    ],
)
def test_what_was_taken_back_is_no_more_in_the_history(
    lines: list[dict[str, Any]], served: list[str]
) -> None:
    assert [one["release"] for one in slots.history(lines)] == served


def test_other_settings_are_something_to_return_to() -> None:
    lines = [released("a", "old"), released("a", "new")]
    assert [one["settings"] for one in slots.history(lines)] == ["old", "new"]
    lines.append(back("a", "a", "old"))
    assert slots.history(lines) == [{"release": "a", "settings": "old"}]


def home(folder: Path, lines: list[dict[str, Any]], kept: str) -> Path:
    """Return an application's folder with a ledger and some complete releases."""
    for name in kept:
        (folder / "releases" / name).mkdir(parents=True)
        (folder / "releases" / name / "release.json").write_text("{}")
    (folder / "releases.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.mark.parametrize(
    ("served", "kept", "serving", "previous"),
    [
        ("ab", "ab", "b", "a"),
        ("a", "a", "a", None),
        ("abc", "ac", "c", "a"),  # what was pruned can't serve
        ("ab", "abc", "c", "b"),  # the line of what serves was lost
        ("abc", "abc", "b", "c"),  # somebody has switched by hand
    ],
)
def test_the_one_before_is_the_last_that_served_and_is_still_there(
    tmp_path: Path, served: str, kept: str, serving: str, previous: str | None
) -> None:
    folder = home(tmp_path, [released(name) for name in served], kept)
    found = slots.previous(folder, {"release": serving, "settings": "s"})
    assert found.get("release") == previous


def test_a_line_that_a_crash_has_cut_off_hides_no_other(tmp_path: Path) -> None:
    folder = home(tmp_path, [released("a"), released("b")], "ab")
    with (folder / "releases.jsonl").open("a") as file:
        file.write('{"app": "shop", "rel')
    slots.note(folder, released("c"), group=-1)
    assert [line["release"] for line in slots.ledger(folder)] == ["a", "b", "c"]


def test_what_has_served_is_told_from_what_never_did() -> None:
    lines = [released("a"), failed("b"), released("c"), back("c", "a"), failed("d"), back("a", "e")]
    assert slots.served(lines) == {"a", "c", "e"}


def test_a_release_that_has_migrated_has_a_restore_point_for_the_ledger(tmp_path: Path) -> None:
    assert slots.restore_point(tmp_path) == {}
    (tmp_path / "restore_point").write_text('{"name": "shop_a", "lsn": "0/10"}\n')
    assert slots.restore_point(tmp_path) == {"restore_point": {"name": "shop_a", "lsn": "0/10"}}
    (tmp_path / "restore_point").write_text('{"name"')
    assert slots.restore_point(tmp_path) == {}
