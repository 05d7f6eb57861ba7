"""Figures, steps and logs of a deployment; a number for each change of the log; tokens."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Constant defaults: no row is written anew, so that the table is locked for a moment. The indexes
    # of a long log take more, and come by themselves in 0003.
    op.execute("""
        ALTER TABLE deployment
            ADD COLUMN revision  bigint NOT NULL DEFAULT 0,
            ADD COLUMN requests  bigint,
            ADD COLUMN failed    bigint,
            ADD COLUMN p50_ms    double precision,
            ADD COLUMN p99_ms    double precision,
            ADD COLUMN worst_ms  double precision,
            ADD COLUMN log_bytes bigint
    """)
    op.execute("""
        CREATE TABLE detail (
            deployment_id bigint PRIMARY KEY REFERENCES deployment ON DELETE CASCADE,
            steps         jsonb NOT NULL DEFAULT '[]',
            latency       jsonb NOT NULL DEFAULT '[]'
        )
    """)
    op.execute("""
        CREATE TABLE token (
            id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            name       text NOT NULL,
            scope      text NOT NULL,
            digest     bytea NOT NULL UNIQUE,
            created_at timestamptz NOT NULL DEFAULT now(),
            expires_at timestamptz,
            revoked_at timestamptz,
            CONSTRAINT scope_is_known CHECK (scope IN ('read', 'write'))
        )
    """)
    # A name can be given again once its token is revoked.
    op.execute("CREATE UNIQUE INDEX token_name_idx ON token (name) WHERE revoked_at IS NULL")

    # In the database and not in the code, so that what the release before writes during a switch
    # counts as well. The lock is held until the commit: without it a lower number could become
    # visible after a higher one, and whoever resumes from the higher one would miss it.
    op.execute("CREATE SEQUENCE deployment_revision")
    op.execute("""
        CREATE FUNCTION deployment_written() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_advisory_xact_lock(hashtext('board revisions'));
            NEW.revision := nextval('deployment_revision');
            PERFORM pg_notify('deployment', NEW.id::text);
            RETURN NEW;
        END
        $$
    """)
    op.execute("""
        CREATE TRIGGER deployment_written BEFORE INSERT OR UPDATE ON deployment
        FOR EACH ROW EXECUTE FUNCTION deployment_written()
    """)


def downgrade() -> None:
    op.execute("DROP TRIGGER deployment_written ON deployment")
    op.execute("DROP FUNCTION deployment_written")
    op.execute("DROP TABLE token, detail")
    op.execute("""
        ALTER TABLE deployment
            DROP COLUMN revision, DROP COLUMN requests, DROP COLUMN failed, DROP COLUMN p50_ms,
            DROP COLUMN p99_ms, DROP COLUMN worst_ms, DROP COLUMN log_bytes
    """)
    op.execute("DROP SEQUENCE deployment_revision")
