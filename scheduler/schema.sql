-- The schema at version 1. Times are Unix milliseconds, UTC. Every table is STRICT; CHECKs refuse what cannot be.

-- Small facts about this database: `id_key` (16 random bytes behind the public ids), `next_call` (the next free call id),
-- `proofs` (how often an idle server has tried whether the disk takes a write).
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE account (
    id         INTEGER PRIMARY KEY,
    uuid       TEXT NOT NULL UNIQUE,
    name       TEXT NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 200),
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE token (
    id         INTEGER PRIMARY KEY,
    account_id INTEGER NOT NULL REFERENCES account (id),
    name       TEXT NOT NULL DEFAULT '',
    hash       BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER
) STRICT;

CREATE TABLE playbook (
    id         INTEGER PRIMARY KEY,
    uuid       TEXT NOT NULL UNIQUE,
    account_id INTEGER NOT NULL REFERENCES account (id),
    body       TEXT NOT NULL CHECK (json_valid(body)),
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    deleted_at INTEGER
) STRICT;
CREATE INDEX playbook_account ON playbook (account_id);

CREATE TABLE contact (
    id         INTEGER PRIMARY KEY,
    account_id INTEGER NOT NULL REFERENCES account (id),
    phone      TEXT NOT NULL CHECK (length(phone) BETWEEN 2 AND 16),
    fields     TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    UNIQUE (account_id, phone)
) STRICT;

-- Numbers that are never dialed. account_id 0: for every account.
CREATE TABLE do_not_call (
    account_id INTEGER NOT NULL,
    phone      TEXT NOT NULL,
    added_at   INTEGER NOT NULL,
    PRIMARY KEY (account_id, phone)
) STRICT, WITHOUT ROWID;

-- A campaign owns the calls first_call .. first_call + size - 1. First attempts have no timer rows: call i is due at
-- launch_at + i * stagger_ms, and `cursor` counts the ones that were claimed (or finished without an attempt).
-- `loading` is a campaign whose contacts are still being stored: nobody sees it, and one found at start is removed.
-- A row with single = 1 is the one call of a POST /call.
CREATE TABLE campaign (
    id                    INTEGER PRIMARY KEY,
    uuid                  TEXT NOT NULL UNIQUE,
    account_id            INTEGER NOT NULL REFERENCES account (id),
    playbook_id           INTEGER NOT NULL REFERENCES playbook (id),
    playbook              TEXT NOT NULL CHECK (json_valid(playbook)),   -- as it was when the campaign was posted
    single                INTEGER NOT NULL DEFAULT 0 CHECK (single IN (0, 1)),
    status                TEXT NOT NULL CHECK (status IN ('loading', 'scheduled', 'running', 'paused', 'completed', 'cancelled')),
    scheduled             INTEGER NOT NULL CHECK (scheduled IN (0, 1)), -- a launch_at was given
    launch_at             INTEGER NOT NULL,
    stagger_ms            INTEGER NOT NULL CHECK (stagger_ms >= 0),
    recall                TEXT NOT NULL CHECK (json_valid(recall)),     -- minutes, ascending, as the API shows them
    first_call            INTEGER NOT NULL UNIQUE,
    size                  INTEGER NOT NULL CHECK (size > 0),
    total_contacts        INTEGER NOT NULL,
    duplicate_contacts    INTEGER NOT NULL CHECK (total_contacts = size + duplicate_contacts),
    cursor                INTEGER NOT NULL DEFAULT 0 CHECK (cursor BETWEEN 0 AND size),
    live                  INTEGER NOT NULL DEFAULT 0 CHECK (live >= 0),
    finished              INTEGER NOT NULL DEFAULT 0 CHECK (finished >= 0 AND live + finished <= size),
    attempts              INTEGER NOT NULL DEFAULT 0,
    last_first_attempt_at INTEGER,                                      -- fire time, so that stagger outlives a restart
    clock_shift_ms        INTEGER NOT NULL DEFAULT 0,                   -- steps of the wall clock since the launch; slots count from launch_at + this
    created_at            INTEGER NOT NULL,
    ended_at              INTEGER,
    CHECK (status <> 'completed' OR finished = size)
) STRICT;
CREATE INDEX campaign_account ON campaign (account_id, id) WHERE single = 0;
CREATE INDEX campaign_active ON campaign (id) WHERE status IN ('loading', 'scheduled', 'running', 'paused');

-- How many finished calls of a campaign have which disposition.
CREATE TABLE outcome (
    campaign_id INTEGER NOT NULL REFERENCES campaign (id),
    disposition TEXT NOT NULL,
    calls       INTEGER NOT NULL CHECK (calls >= 0),
    PRIMARY KEY (campaign_id, disposition)
) STRICT, WITHOUT ROWID;

-- `contact` keeps the contact's values at the call's creation. `attempts` counts those begun. `next_at` is the due time of
-- a recall or snooze (the same instant as its timer row); NULL for a first attempt that is due at its computed slot.
-- A pending call of a cancelled campaign is finished as `cancelled` without its row being touched.
CREATE TABLE call (
    id              INTEGER PRIMARY KEY,
    phone           TEXT NOT NULL,
    contact         TEXT NOT NULL,
    attempts        INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    first_dialed_at INTEGER,
    next_at         INTEGER,
    disposition     TEXT,
    reason          TEXT,
    finished_at     INTEGER,
    CHECK (finished_at IS NULL OR (disposition IS NOT NULL AND next_at IS NULL))
) STRICT;

CREATE TABLE attempt (
    call_id     INTEGER NOT NULL REFERENCES call (id),
    number      INTEGER NOT NULL CHECK (number >= 1),
    due_at      INTEGER NOT NULL,
    fire_at     INTEGER NOT NULL CHECK (fire_at >= due_at),
    dialed_at   INTEGER,
    ringing_at  INTEGER,
    answered_at INTEGER,
    ended_at    INTEGER,
    invites     INTEGER NOT NULL DEFAULT 1 CHECK (invites >= 1),
    trunk       TEXT NOT NULL,
    caller_id   TEXT NOT NULL,
    sip_call_id TEXT NOT NULL,
    disposition TEXT,
    reason      TEXT,
    sip_status  INTEGER CHECK (sip_status BETWEEN 100 AND 699),
    q850_cause  INTEGER CHECK (q850_cause BETWEEN 0 AND 127),
    ended_by    TEXT CHECK (ended_by IN ('far', 'us', 'stack')),
    rtp         TEXT CHECK (json_valid(rtp)),
    dialog      TEXT,
    withdrawn   INTEGER NOT NULL DEFAULT 0 CHECK (withdrawn IN (0, 1)),     -- cancelled by a person while it was under way
    PRIMARY KEY (call_id, number),
    CHECK ((ended_at IS NULL) = (disposition IS NULL))
) STRICT, WITHOUT ROWID;
-- A call is live when it has an open attempt, and has one at most.
CREATE UNIQUE INDEX attempt_open ON attempt (call_id) WHERE ended_at IS NULL;

-- Recalls and snoozes only: the wheel's far level. The clustered key is the order in which they fall due.
CREATE TABLE timer (
    due_at  INTEGER NOT NULL,
    call_id INTEGER NOT NULL REFERENCES call (id),
    PRIMARY KEY (due_at, call_id)
) STRICT, WITHOUT ROWID;

-- Answers to requests that carried an Idempotency-Key, kept for 24 hours.
CREATE TABLE idempotency (
    account_id INTEGER NOT NULL REFERENCES account (id),
    endpoint   TEXT NOT NULL,
    key        TEXT NOT NULL,
    body_hash  BLOB NOT NULL,
    answer     TEXT NOT NULL CHECK (json_valid(answer)),
    created_at INTEGER NOT NULL,
    PRIMARY KEY (account_id, endpoint, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_age ON idempotency (created_at);

-- What is left to do for a campaign's intake. The row comes with the `loading` campaign, and goes when its contacts are
-- stored too; where it is found at start, an active campaign gets the rest of its contacts, a loading one is removed.
-- Contacts are stored in the order of their phones, up to `stored_phone`; those with ids up to `known_contact` existed
-- when the campaign's calls were written.
CREATE TABLE intake (
    campaign_id   INTEGER PRIMARY KEY REFERENCES campaign (id),
    known_contact INTEGER NOT NULL,
    stored_phone  TEXT NOT NULL DEFAULT ''
) STRICT;

-- The given fields of a call whose contact existed already, for as long as its campaign has a row in `intake`. A new
-- contact's fields are the call's own.
CREATE TABLE intake_change (
    call_id INTEGER PRIMARY KEY REFERENCES call (id),
    fields  TEXT NOT NULL CHECK (json_valid(fields))
) STRICT;
