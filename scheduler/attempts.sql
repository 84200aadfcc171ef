-- Version 6: attempts under way apart from those that are over. Recording one before its INVITE is one row at the end of a
-- small table, and the campaign's row is not touched: the least that a commit in a hurry can write.

-- An attempt from its arming to its end. A call is live while it has one, and has one at most. `fire_at` is when its first
-- INVITE was to leave, `retry_at` when that of its latest technical retry was (NULL: there was none). `dialog` is what
-- another process would need to end it on the wire, `withdrawn` says that a person cancelled the call meanwhile. No foreign
-- key: that the call is there, and may be attempted, is found out for a whole run of calls by one statement.
CREATE TABLE open_attempt (
    call_id     INTEGER PRIMARY KEY,
    number      INTEGER NOT NULL CHECK (number >= 1),
    due_at      INTEGER NOT NULL,
    fire_at     INTEGER NOT NULL CHECK (fire_at >= due_at),
    trunk       TEXT NOT NULL,
    caller_id   TEXT NOT NULL,
    sip_call_id TEXT NOT NULL,
    retry_at    INTEGER CHECK (retry_at >= due_at),
    invites     INTEGER NOT NULL DEFAULT 1 CHECK (invites >= 1),
    dialed_at   INTEGER,
    ringing_at  INTEGER,
    answered_at INTEGER,
    reason      TEXT,
    dialog      TEXT,
    withdrawn   INTEGER NOT NULL DEFAULT 0 CHECK (withdrawn IN (0, 1))
) STRICT;
INSERT INTO open_attempt
SELECT call_id, number, due_at, fire_at, trunk, caller_id, sip_call_id, CASE WHEN invites > 1 THEN fire_at END, invites,
       dialed_at, ringing_at, answered_at, reason, dialog, withdrawn
FROM attempt WHERE ended_at IS NULL;

-- An attempt that is over. It moves here in the transaction that records its end, and never changes again.
CREATE TABLE ended_attempt (
    call_id     INTEGER NOT NULL REFERENCES call (id),
    number      INTEGER NOT NULL CHECK (number >= 1),
    due_at      INTEGER NOT NULL,
    fire_at     INTEGER NOT NULL CHECK (fire_at >= due_at),
    dialed_at   INTEGER,
    ringing_at  INTEGER,
    answered_at INTEGER,
    ended_at    INTEGER NOT NULL,
    invites     INTEGER NOT NULL CHECK (invites >= 1),
    trunk       TEXT NOT NULL,
    caller_id   TEXT NOT NULL,
    sip_call_id TEXT NOT NULL,
    disposition TEXT NOT NULL,
    reason      TEXT NOT NULL,
    sip_status  INTEGER CHECK (sip_status BETWEEN 100 AND 699),
    q850_cause  INTEGER CHECK (q850_cause BETWEEN 0 AND 127),
    ended_by    TEXT NOT NULL CHECK (ended_by IN ('far', 'us', 'stack')),
    rtp         TEXT CHECK (json_valid(rtp)),
    PRIMARY KEY (call_id, number)
) STRICT, WITHOUT ROWID;
INSERT INTO ended_attempt
SELECT call_id, number, due_at, fire_at, dialed_at, ringing_at, answered_at, ended_at, invites, trunk, caller_id,
       sip_call_id, disposition, coalesce(reason, ''), sip_status, q850_cause, coalesce(ended_by, 'stack'), rtp
FROM attempt WHERE ended_at IS NOT NULL;

-- Steps are taken while their attempt is under way: they belong to the call.
CREATE TABLE new_step (
    call_id  INTEGER NOT NULL REFERENCES call (id),
    number   INTEGER NOT NULL,
    position INTEGER NOT NULL CHECK (position >= 1),
    line     TEXT NOT NULL CHECK (json_valid(line)),
    result   TEXT CHECK (json_valid(result)),
    PRIMARY KEY (call_id, number, position)
) STRICT, WITHOUT ROWID;
-- Pruned campaigns had left theirs behind.
INSERT INTO new_step SELECT * FROM step WHERE EXISTS (SELECT 1 FROM call WHERE id = call_id);
DROP TABLE step;
ALTER TABLE new_step RENAME TO step;
DROP TABLE attempt;

-- `call.attempts` counts those that are over from now on, and so do the campaign's counts.
UPDATE call SET attempts = attempts - 1 WHERE id IN (SELECT call_id FROM open_attempt);

CREATE TABLE new_campaign (
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
    -- What attempts under way add to these three is told by their own rows: see campaign_now.
    settled_cursor        INTEGER NOT NULL DEFAULT 0 CHECK (settled_cursor BETWEEN 0 AND size),
    settled_attempts      INTEGER NOT NULL DEFAULT 0 CHECK (settled_attempts >= 0),
    settled_first_at      INTEGER,                                      -- fire time of the last first attempt
    finished              INTEGER NOT NULL DEFAULT 0 CHECK (finished BETWEEN 0 AND size),
    clock_shift_ms        INTEGER NOT NULL DEFAULT 0,                   -- steps of the wall clock since the launch; slots count from launch_at + this
    created_at            INTEGER NOT NULL,
    ended_at              INTEGER,
    events                INTEGER NOT NULL DEFAULT 0,                   -- the sequence of its newest event
    last_event            INTEGER,                                      -- its row, which is kept while the campaign goes on
    expires_at            INTEGER,
    zones                 TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(zones)),
    token_id              INTEGER,
    CHECK (status <> 'completed' OR finished = size)
) STRICT;
INSERT INTO new_campaign
SELECT id, uuid, account_id, playbook_id, playbook, single, status, scheduled, launch_at, stagger_ms, recall, first_call, size,
       total_contacts, duplicate_contacts, cursor, attempts - live, last_first_attempt_at, finished, clock_shift_ms,
       created_at, ended_at, events, last_event, expires_at, zones, token_id
FROM campaign;
DROP TABLE campaign;
ALTER TABLE new_campaign RENAME TO campaign;
CREATE INDEX campaign_account ON campaign (account_id, id) WHERE single = 0;
CREATE INDEX campaign_active ON campaign (id) WHERE status IN ('loading', 'scheduled', 'running', 'paused');

-- All attempts.
CREATE VIEW attempt AS
SELECT call_id, number, due_at, fire_at, dialed_at, ringing_at, answered_at, ended_at, invites, trunk, caller_id, sip_call_id,
       disposition, reason, sip_status, q850_cause, ended_by, rtp
FROM ended_attempt
UNION ALL
SELECT call_id, number, due_at, fire_at, dialed_at, ringing_at, answered_at, NULL, invites, trunk, caller_id, sip_call_id,
       NULL, reason, NULL, NULL, NULL, NULL
FROM open_attempt;

-- A campaign as it stands, its attempts under way counted in. `cursor` counts the first attempts that were claimed (or
-- finished without one), in their order; scheduled + live + finished = size, where scheduled is what is left over.
CREATE VIEW campaign_now AS
SELECT campaign.*,
       max(settled_cursor, coalesce((SELECT call_id FROM open_attempt WHERE call_id BETWEEN first_call AND first_call + size - 1
                                     ORDER BY call_id DESC LIMIT 1) - first_call + 1, 0)) AS cursor,
       (SELECT count(*) FROM open_attempt WHERE call_id BETWEEN first_call AND first_call + size - 1) AS live,
       settled_attempts
       + (SELECT count(*) FROM open_attempt WHERE call_id BETWEEN first_call AND first_call + size - 1) AS attempts,
       nullif(max(coalesce(settled_first_at, 0),
                  coalesce((SELECT max(fire_at) FROM open_attempt
                            WHERE number = 1 AND call_id BETWEEN first_call AND first_call + size - 1), 0)), 0)
       AS last_first_attempt_at
FROM campaign;
