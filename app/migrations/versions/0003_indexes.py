"""Indexes for each combination of filters, for what runs where and for the stream."""

from alembic import op
from sqlalchemy import text

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

INDEXES = {
    "deployment_app_host_id_idx": "app, host, id",
    "deployment_status_id_idx": "status, id",
    "deployment_app_status_id_idx": "app, status, id",
    "deployment_host_status_id_idx": "host, status, id",
    "deployment_app_host_status_id_idx": "app, host, status, id",
    "deployment_release_id_idx": "release, id",
    "deployment_revision_idx": "revision",
}

# What is left of an index whose making was cut off: written, and never read.
INVALID = """
    SELECT relname FROM pg_index JOIN pg_class ON oid = indexrelid
    WHERE indrelid = 'deployment'::regclass AND NOT indisvalid
"""


def upgrade() -> None:
    # Beside who reads and writes, however long the log is. That can't be undone as a whole: who comes
    # again after a failure finds some of them made.
    with op.get_context().autocommit_block():
        # Waits for transactions that are older, and nobody waits for it.
        op.execute("SET lock_timeout = 0")
        invalid = op.get_bind().execute(text(INVALID)).scalars().all()
        for name, columns in INDEXES.items():
            if name in invalid:
                op.execute(f"DROP INDEX CONCURRENTLY {name}")
            op.execute(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON deployment ({columns})")
        op.execute("RESET lock_timeout")


def downgrade() -> None:
    # This takes a moment.
    for name in INDEXES:
        op.execute(f"DROP INDEX {name}")
