-- Version 8: the legs to agents, by which answered calls are handed over: a row for each INVITE, there before it leaves. A leg may
-- outlive its attempt by the time that its far side takes to confirm the end.
CREATE TABLE agent_leg (
    call_id     INTEGER NOT NULL REFERENCES call (id),
    number      INTEGER NOT NULL,
    position    INTEGER NOT NULL CHECK (position >= 1),
    agent       TEXT NOT NULL,                      -- the number, or the SIP URI
    fire_at     INTEGER NOT NULL,
    until       INTEGER NOT NULL,                   -- when it is given up if nobody has answered
    trunk       TEXT NOT NULL,
    caller_id   TEXT NOT NULL,
    sip_call_id TEXT NOT NULL,
    dialed_at   INTEGER,
    ringing_at  INTEGER,
    answered_at INTEGER,
    ended_at    INTEGER,
    disposition TEXT,
    reason      TEXT,
    sip_status  INTEGER CHECK (sip_status BETWEEN 100 AND 699),
    q850_cause  INTEGER CHECK (q850_cause BETWEEN 0 AND 127),
    ended_by    TEXT CHECK (ended_by IN ('far', 'us', 'stack')),
    dialog      TEXT,
    PRIMARY KEY (call_id, number, position),
    CHECK ((ended_at IS NULL) = (disposition IS NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX agent_leg_open ON agent_leg (call_id) WHERE ended_at IS NULL;
