"""Settings, read from the environment when the application starts."""

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode

PLACEHOLDERS = ("change", "default", "example", "insecure", "password", "replace", "secret", "your")


class SettingsError(Exception):
    """The environment doesn't make a valid configuration; the message names each variable."""


def strong(secret: SecretStr) -> SecretStr:
    """Refuse a token that was never chosen, or that a header could not carry."""
    value = secret.get_secret_value()
    if len(value) < 16:
        raise ValueError("must have at least 16 characters: try `openssl rand -hex 32`")
    if value.lower().startswith(PLACEHOLDERS) or len(set(value)) < 8:
        raise ValueError("is a placeholder or trivial: try `openssl rand -hex 32`")
    if not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError("must be printable ASCII without spaces")
    return secret


def no_placeholder(url: str) -> str:
    """Refuse an address that can't be read, or whose password was never chosen."""
    try:
        password = str(conninfo_to_dict(url).get("password") or "")
    except psycopg.ProgrammingError:
        # Not with psycopg's message, which repeats it.
        raise ValueError("is no address of a database") from None
    if password.lower().startswith(PLACEHOLDERS) or password in ("board", "postgres"):
        raise ValueError("has a placeholder for a password: try `openssl rand -hex 32`")
    return url


def words(value: object) -> object:
    """The words of a text."""
    return value.split() if isinstance(value, str) else value


class DatabaseSettings(BaseSettings):
    """What it takes to reach the database. Every field is an environment variable in capitals."""

    database_url: Annotated[str, AfterValidator(no_placeholder)] = "postgresql:///board"
    # Connections a worker, and the seconds that a request waits for one.
    pool_size: Annotated[int, Field(ge=1, le=100)] = 8
    pool_timeout: Annotated[float, Field(gt=0, le=60)] = 2
    # Seconds that a query may take.
    query_timeout: Annotated[float, Field(gt=0, le=60)] = 5
    slipway_release: str = "dev"


class Settings(DatabaseSettings):
    """What a worker needs to know."""

    api_token: Annotated[SecretStr, AfterValidator(strong)]
    public: bool = True
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    # Where runs' logs are kept: in the folder that outlives releases.
    slipway_shared: Path = Path("shared")
    log_limit: Annotated[int, Field(ge=0, le=2**40)] = 10 * 1024 * 1024
    prometheus_multiproc_dir: Path | None = None
    # Who may ask for figures, apart from whoever comes by the socket itself: networks, with blanks between.
    metrics_from: Annotated[
        tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(words)
    ] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1"))


Loaded = TypeVar("Loaded", bound=DatabaseSettings)


def load_settings(kind: type[Loaded]) -> Loaded:
    """Read the environment.

    Raises:
        SettingsError: a variable is missing or invalid.
    """
    try:
        return kind()
    except ValidationError as error:
        # Without the input, which may be a secret; for the same reason not chained.
        problems = [
            f"{'.'.join(map(str, detail['loc'])).upper()}: {detail['msg']}"
            for detail in error.errors(include_input=False)
        ]
        raise SettingsError("; ".join(problems)) from None
