"""Makes the table: ``python -m desk.schema``. As often as one likes: what is there stays."""

import psycopg

from .settings import Settings

SCHEMA = """
CREATE TABLE IF NOT EXISTS ticket (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  subject text NOT NULL
)
"""


def main() -> None:
    """Make it."""
    with psycopg.connect(str(Settings().dsn)) as connection:  # type: ignore[call-arg]
        connection.execute(SCHEMA)


if __name__ == "__main__":
    main()
