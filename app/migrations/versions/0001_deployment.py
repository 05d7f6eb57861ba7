"""The log of deployments."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE deployment (
            id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            app         text NOT NULL,
            host        text NOT NULL,
            release     text NOT NULL,
            version     text,
            status      text NOT NULL DEFAULT 'running',
            message     text,
            started_at  timestamptz NOT NULL,
            finished_at timestamptz,
            CONSTRAINT status_is_known
                CHECK (status IN ('running', 'succeeded', 'failed', 'rolled_back')),
            CONSTRAINT finished_unless_running
                CHECK ((status = 'running') = (finished_at IS NULL)),
            CONSTRAINT finished_after_started
                CHECK (finished_at >= started_at)
        )
    """)
    # The list is walked by id, backwards, for one application or one host.
    op.execute("CREATE INDEX deployment_app_id_idx ON deployment (app, id)")
    op.execute("CREATE INDEX deployment_host_id_idx ON deployment (host, id)")


def downgrade() -> None:
    op.execute("DROP TABLE deployment")
