"""Settings, from the environment. Of the database they insist on a host and a password."""

from typing import Annotated
from urllib.parse import quote

from pydantic import Field, PostgresDsn, computed_field
from pydantic_settings import BaseSettings


class Settings(BaseSettings):
    """Where the database is, in the words of many a template."""

    POSTGRES_SERVER: Annotated[str, Field(pattern=r"^[a-z0-9.-]+$")]
    POSTGRES_PORT: int = 5432
    POSTGRES_USER: str
    POSTGRES_PASSWORD: Annotated[str, Field(min_length=8)]
    POSTGRES_DB: str

    @computed_field  # type: ignore[prop-decorator]
    @property
    def dsn(self) -> PostgresDsn:
        """Return the database's URL."""
        return PostgresDsn.build(
            scheme="postgresql",
            username=self.POSTGRES_USER,
            password=quote(self.POSTGRES_PASSWORD, safe=""),
            host=self.POSTGRES_SERVER,
            port=self.POSTGRES_PORT,
            path=self.POSTGRES_DB,
        )
