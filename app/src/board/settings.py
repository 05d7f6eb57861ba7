"""Settings, read from the environment when the application starts."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings

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


class Settings(BaseSettings):
    """What a worker needs to know. Every field is an environment variable in capitals."""

    database_url: str = "postgresql:///board"
    api_token: Annotated[SecretStr, AfterValidator(strong)]
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    pool_size: Annotated[int, Field(ge=1, le=100)] = 4
    slipway_release: str = "dev"


def load_settings() -> Settings:
    """Read the environment.

    Raises:
        SettingsError: a variable is missing or invalid.
    """
    try:
        return Settings()  # type: ignore[call-arg]  # the environment has the argument
    except ValidationError as error:
        # Without the input, which may be a secret; for the same reason not chained.
        problems = [
            f"{'.'.join(map(str, detail['loc'])).upper()}: {detail['msg']}"
            for detail in error.errors(include_input=False)
        ]
        raise SettingsError("; ".join(problems)) from None
