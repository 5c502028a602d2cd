-- Databases: worker
-- Why: others look up what has happened to a resource or a task, and by which request, without reading Kafka
-- (resources contract, sections 1.4 and 7). The recorder writes one row for each event, however often it comes.

CREATE TABLE processed_events (
    id           uuid PRIMARY KEY,
    event_type   varchar(100) NOT NULL,
    resource_id  varchar(100),
    task_id      varchar(100),
    action       varchar(100),
    payload      jsonb        NOT NULL,
    trace_id     text,
    processed_at timestamptz  NOT NULL DEFAULT now()
);

CREATE INDEX processed_events_event_type ON processed_events (event_type);
CREATE INDEX processed_events_resource_id ON processed_events (resource_id);
CREATE INDEX processed_events_task_id ON processed_events (task_id);
CREATE INDEX processed_events_processed_at ON processed_events (processed_at);
