-- Version 2: what programs are told (MQTT, webhooks, GET /events), recorded in the transaction of what it tells of.

-- The sequence of the newest event recorded about it. A call at 0 has not even been told as scheduled.
ALTER TABLE call ADD COLUMN events INTEGER NOT NULL DEFAULT 0;
ALTER TABLE campaign ADD COLUMN events INTEGER NOT NULL DEFAULT 0;
-- The row of the campaign's newest event, which says the campaign's state and is kept while the campaign goes on.
ALTER TABLE campaign ADD COLUMN last_event INTEGER;

-- The outbox. Ids are in the order of the commits and never used again (AUTOINCREMENT), so "all after this one" misses
-- nothing. call_id is NULL where the campaign itself is told of. No foreign keys: each would cost a look for every row.
CREATE TABLE event (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    campaign_id INTEGER NOT NULL,
    call_id     INTEGER,
    sequence    INTEGER NOT NULL CHECK (sequence >= 1),
    type        TEXT NOT NULL,
    at          INTEGER NOT NULL,
    recorded_at INTEGER NOT NULL,
    detail      TEXT NOT NULL CHECK (json_valid(detail))
) STRICT;

-- Who is told: `mqtt`, `stream` (GET /events), `webhook:<id>`; each has been given all events up to `position`. While
-- there is none, nothing is recorded. `seen_at` is when somebody last listened to the stream.
CREATE TABLE sink (
    name     TEXT PRIMARY KEY,
    position INTEGER NOT NULL,
    seen_at  INTEGER
) STRICT, WITHOUT ROWID;

-- What is to be told of each call of a campaign, and was not yet from `next_call` on: one row in the place of a hundred
-- thousand. `call.finished` is for the calls that ended unattempted when their campaign was cancelled.
CREATE TABLE spread (
    id          INTEGER PRIMARY KEY,
    campaign_id INTEGER NOT NULL REFERENCES campaign (id),
    type        TEXT NOT NULL CHECK (type IN ('call.scheduled', 'call.finished')),
    at          INTEGER NOT NULL,
    next_call   INTEGER NOT NULL
) STRICT;

-- An account's address for events. `dead` counts those that were given up; `gone_at` is when the address said that it is
-- no more (410). Its id names its sink, so it must never be another's.
CREATE TABLE webhook (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    uuid          TEXT NOT NULL UNIQUE,
    account_id    INTEGER NOT NULL REFERENCES account (id),
    url           TEXT NOT NULL,
    secret        TEXT NOT NULL,
    types         TEXT NOT NULL CHECK (json_valid(types)), -- which events; [] all
    created_at    INTEGER NOT NULL,
    delivered     INTEGER NOT NULL DEFAULT 0,
    delivered_at  INTEGER,
    failing_since INTEGER,
    failures      INTEGER NOT NULL DEFAULT 0,
    last_error    TEXT,
    retry_at      INTEGER,
    dead          INTEGER NOT NULL DEFAULT 0,
    dead_at       INTEGER,
    gone_at       INTEGER
) STRICT;
CREATE INDEX webhook_account ON webhook (account_id);

-- Events that were removed are all at or below this one.
INSERT INTO meta (key, value) VALUES ('events_removed', 0);
