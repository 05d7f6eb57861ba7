"""Brings the schema to what this release needs: each file of migrations/ once, in the order of their names.

All that are new are one transaction, so that a failure leaves the schema as it was. A file whose first line is
`-- no transaction` ends that transaction and runs on its own, as CREATE INDEX CONCURRENTLY insists on.
"""

import os
from pathlib import Path

import psycopg


def main() -> None:
    """Migrate."""
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS migration (name text PRIMARY KEY)")
        done = {name for (name,) in connection.execute("SELECT name FROM migration")}
        connection.execute("BEGIN")
        for file in sorted(Path("migrations").glob("*.sql")):
            if file.stem in done:
                continue
            print(f"migrating: {file.stem}", flush=True)
            statements = file.read_text()
            alone = statements.startswith("-- no transaction")
            if alone:
                connection.execute("COMMIT")
            connection.execute(statements.encode())
            if alone:
                connection.execute("BEGIN")
            connection.execute("INSERT INTO migration VALUES (%s)", [file.stem])
        connection.execute("COMMIT")


if __name__ == "__main__":
    main()
