"""Indexes: pip and uv ask the same ones, and what a tool is set to stands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from slipway_build import indexes

ASKED_OF_PIP = indexes.of_pip  # which takes half a second
Told = Callable[[], dict[str, str]]


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Told:
    """Return what the tools are told, on a machine whose settings are the test's."""
    for name in ("INDEX_URL", "EXTRA_INDEX_URL", "DEFAULT_INDEX", "INDEX", "CONFIG_FILE"):
        monkeypatch.delenv(f"PIP_{name}", raising=False)
        monkeypatch.delenv(f"UV_{name}", raising=False)
    monkeypatch.setattr(indexes, "of_pip", indexes.Indexes)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path / "system"))
    (tmp_path / "config/uv").mkdir(parents=True)
    (tmp_path / "shop").mkdir()

    def tell() -> dict[str, str]:
        indexes.environment.cache_clear()
        return indexes.environment((tmp_path / "shop", tmp_path))

    return tell


def test_without_settings_nothing_is_told(told: Told) -> None:
    assert told() == {}


@pytest.mark.parametrize("variable", ["UV_DEFAULT_INDEX", "UV_INDEX_URL"])
def test_what_replaces_the_public_index_for_uv_does_so_for_pip(
    told: Told, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "https://one.example.org/simple")
    one = "https://one.example.org/simple"
    assert told() == {"PIP_INDEX_URL": one, "UV_DEFAULT_INDEX": one}


@pytest.mark.parametrize("variable", ["UV_INDEX", "UV_EXTRA_INDEX_URL"])
def test_what_uv_asks_besides_is_asked_by_pip_too(
    told: Told, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "ours=https://a.example.org/x?y=z https://b.example.org/")
    pip = indexes.Indexes(extra=("https://pip.example.org/",))
    monkeypatch.setattr(indexes, "of_pip", lambda: pip)
    assert told()["PIP_EXTRA_INDEX_URL"].split() == [
        "https://pip.example.org/",
        "https://a.example.org/x?y=z",
        "https://b.example.org/",
    ]


def test_a_password_comes_from_variables_by_the_indexs_name(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_INDEX", "our-own=https://old@a.example.org:8443/simple")
    monkeypatch.setenv("UV_INDEX_OUR_OWN_USERNAME", "me")
    monkeypatch.setenv("UV_INDEX_OUR_OWN_PASSWORD", "p@ss/1")
    assert told() == {"PIP_EXTRA_INDEX_URL": "https://me:p%40ss%2F1@a.example.org:8443/simple"}


@pytest.mark.parametrize("place", ["config/uv/uv.toml", "system/uv/uv.toml", "shop/uv.toml"])
def test_indexes_come_from_uvs_files(tmp_path: Path, told: Told, place: str) -> None:
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).write_text(
        '[[index]]\nname = "all"\nurl = "https://all.example.org/"\ndefault = true\n'
        '[[index]]\nurl = "https://extra.example.org/"\n'
    )
    assert told() == {
        "PIP_INDEX_URL": "https://all.example.org/",
        "UV_DEFAULT_INDEX": "https://all.example.org/",
        "PIP_EXTRA_INDEX_URL": "https://extra.example.org/",
    }


@pytest.mark.parametrize("folder", ["shop", "."])
def test_indexes_come_from_the_sources_pyproject(tmp_path: Path, told: Told, folder: str) -> None:
    (tmp_path / folder / "pyproject.toml").write_text(
        '[[tool.uv.index]]\nname = "ours"\nurl = "https://ours.example.org/"\n'
    )
    assert told() == {"PIP_EXTRA_INDEX_URL": "https://ours.example.org/"}


def test_the_nearest_default_counts(
    tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config/uv/uv.toml").write_text('index-url = "https://user.example.org/"\n')
    assert told()["PIP_INDEX_URL"] == "https://user.example.org/"
    (tmp_path / "shop/uv.toml").write_text('index-url = "https://source.example.org/"\n')
    assert told()["PIP_INDEX_URL"] == "https://source.example.org/"
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://variable.example.org/")
    assert told()["PIP_INDEX_URL"] == "https://variable.example.org/"


def test_pips_own_index_stands_and_is_told_to_a_uv_that_has_none(
    tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pip.conf").write_text(
        "[global]\nindex-url = https://pip.example.org/\nextra-index-url =\n  https://more.example.org/\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    asked = ASKED_OF_PIP()
    assert asked == indexes.Indexes("https://pip.example.org/", ("https://more.example.org/",))
    monkeypatch.setattr(indexes, "of_pip", lambda: asked)
    assert told() == {"UV_DEFAULT_INDEX": "https://pip.example.org/"}
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://uv.example.org/")
    assert told() == {"UV_DEFAULT_INDEX": "https://uv.example.org/"}
