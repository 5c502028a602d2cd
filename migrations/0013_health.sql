-- Databases: rest
-- Why: what operators say of a cluster's health, and whether it has droplets, outlive a Kafka that is lost
-- (operations contract, section 15).

ALTER TABLE clusters
    ADD COLUMN health_override varchar(50) CHECK (health_override IN ('healthy', 'warning', 'critical')),
    ADD COLUMN checked_at timestamptz,
    ADD COLUMN attached boolean NOT NULL DEFAULT false;
