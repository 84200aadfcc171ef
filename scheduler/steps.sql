-- The transcript: each step of a playbook that an attempt has been through, in order. `line` is what the API shows of it;
-- `result` is all that the call had come to by then, in the rows of steps that changed it.
CREATE TABLE step (
    call_id  INTEGER NOT NULL,
    number   INTEGER NOT NULL,
    position INTEGER NOT NULL CHECK (position >= 1),
    line     TEXT NOT NULL CHECK (json_valid(line)),
    result   TEXT CHECK (json_valid(result)),
    PRIMARY KEY (call_id, number, position),
    FOREIGN KEY (call_id, number) REFERENCES attempt (call_id, number)
) STRICT, WITHOUT ROWID;
