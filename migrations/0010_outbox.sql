-- Databases: rest, grpc
-- Why: programs that write into PostgreSQL commit the event with their rows; a relay publishes it (resources
-- contract, section 5.3). They may insert the first five columns and nothing else (docs/outbox.md).

CREATE TABLE outbox_events (
    id           varchar(100) PRIMARY KEY DEFAULT gen_random_uuid()::text,
    aggregate_id varchar(100) NOT NULL,
    event_type   varchar(100) NOT NULL,
    payload      jsonb        NOT NULL,
    headers      jsonb,
    created_at   timestamptz  NOT NULL DEFAULT now(),
    processed_at timestamptz,
    seq          bigint       NOT NULL GENERATED ALWAYS AS IDENTITY,
    attempts     integer      NOT NULL DEFAULT 0,
    last_error   text,
    parked_at    timestamptz
);

CREATE UNIQUE INDEX outbox_events_pending ON outbox_events (seq)
    WHERE processed_at IS NULL AND parked_at IS NULL;
CREATE INDEX outbox_events_pending_of ON outbox_events (aggregate_id, seq)
    WHERE processed_at IS NULL AND parked_at IS NULL;
CREATE INDEX outbox_events_parked ON outbox_events (parked_at) WHERE parked_at IS NOT NULL;
CREATE INDEX outbox_events_processed ON outbox_events (processed_at) WHERE processed_at IS NOT NULL;
CREATE INDEX outbox_events_created_at ON outbox_events (created_at);
CREATE INDEX outbox_events_aggregate_id ON outbox_events (aggregate_id);

-- A statement that inserts wakes the relay once, when its transaction commits.
CREATE FUNCTION outbox_events_inserted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('outbox_events', '');
    RETURN NULL;
END
$$;

CREATE TRIGGER outbox_events_inserted AFTER INSERT ON outbox_events
    FOR EACH STATEMENT EXECUTE FUNCTION outbox_events_inserted();
