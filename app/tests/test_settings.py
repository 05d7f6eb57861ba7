"""Settings come from the environment, and bad ones stop the start with a clear message."""

import subprocess
import sys

import pytest

from board.settings import DatabaseSettings, Settings, SettingsError, load_settings


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "API_TOKEN", "LOG_LEVEL", "POOL_SIZE", "SLIPWAY_RELEASE"):
        monkeypatch.delenv(name, raising=False)


def test_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_TOKEN", "0123456789abcdef")
    settings = load_settings(Settings)
    assert settings.database_url == "postgresql:///board"
    assert (settings.log_level, settings.pool_size, settings.slipway_release) == ("INFO", 8, "dev")
    assert "0123456789abcdef" not in repr(settings)


def test_missing_token_is_named() -> None:
    with pytest.raises(SettingsError, match=r"^API_TOKEN: Field required$"):
        load_settings(Settings)


@pytest.mark.parametrize(
    "token",
    [
        "0123456789abcde",  # 15 characters
        "changethis-changethis",
        "ChangeMe-please-now",
        "aaaaaaaaaaaaaaaaaaaa",
        "0123456789 abcdef",
        "0123456789abcdef\n",
        "0123456789abcdéf",
    ],
)
def test_weak_token_is_refused_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("API_TOKEN", token)
    with pytest.raises(SettingsError) as error:
        load_settings(Settings)
    assert str(error.value).startswith("API_TOKEN: ")
    assert token not in str(error.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://board:password@db/board",
        "host=db password=changeme-now user=board",
        "postgresql://postgres:postgres@db/board",
        "postgresql://%zz:secret-thing@db/board",
    ],
)
def test_an_address_with_a_placeholder_is_refused_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    with pytest.raises(SettingsError) as error:
        load_settings(DatabaseSettings)
    assert str(error.value).startswith("DATABASE_URL: ")
    assert url not in str(error.value)


def test_all_problems_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POOL_SIZE", "0")
    monkeypatch.setenv("LOG_LEVEL", "LOUD")
    with pytest.raises(SettingsError, match=r"POOL_SIZE: .*API_TOKEN: .*LOG_LEVEL: "):
        load_settings(Settings)


def test_importing_the_application_needs_no_environment() -> None:
    # The deploy imports the module before it starts anything; -I: no environment at all.
    code = f"import sys; sys.path[:0] = {sys.path!r}; import board.main; print(board.main.app)"
    subprocess.run([sys.executable, "-I", "-c", code], check=True, capture_output=True, env={})


def test_workers_do_not_load_the_migrations_libraries() -> None:
    code = (
        f"import sys; sys.path[:0] = {sys.path!r}; import board.main;"
        "assert not {'sqlalchemy', 'alembic'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-I", "-c", code], check=True)


def test_the_server_does_not_start_without_a_token() -> None:
    # In the lifespan: gunicorn sees the worker fail, and the deploy sees the message.
    code = f"import sys; sys.path[:0] = {sys.path!r}; import uvicorn; uvicorn.run('board.main:app')"
    run = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, env={})
    assert run.returncode == 3
    assert "API_TOKEN: Field required" in run.stderr
