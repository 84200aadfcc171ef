-- Version 9: how many attempts of an account ended in each minute (of Unix time) in which way; sip_status 0: no final response came.
-- `last_at`, `call_id` and `number` are those of the newest. Written by whoever gathers it in memory, some seconds later: not
-- in the attempt's own transaction, which has no time to lose.
CREATE TABLE minute (
    account_id  INTEGER NOT NULL,
    minute      INTEGER NOT NULL,
    disposition TEXT NOT NULL,
    sip_status  INTEGER NOT NULL,
    attempts    INTEGER NOT NULL CHECK (attempts >= 1),
    last_at     INTEGER NOT NULL,
    call_id     INTEGER NOT NULL,
    number      INTEGER NOT NULL,
    PRIMARY KEY (account_id, minute, disposition, sip_status)
) STRICT, WITHOUT ROWID;

-- The campaigns that go on, whatever number of them has ended.
CREATE INDEX campaign_going_on ON campaign (account_id, status, id)
    WHERE single = 0 AND status IN ('scheduled', 'running', 'paused');
