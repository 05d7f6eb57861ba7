-- No key: what is written twice is to be seen twice.
CREATE TABLE entry (
    run     text NOT NULL,
    n       bigint NOT NULL,
    release text NOT NULL
);
CREATE INDEX entry_run_idx ON entry (run);
