-- Version 7: what a database that was restored from a backup has to know.

-- Stretches of calls of one campaign, first and last included, that may have been dialed after the backup: nobody dials them
-- before a person releases them. They have no timer, and the campaign's cursor has passed them.
CREATE TABLE review (
    first_call INTEGER PRIMARY KEY,
    last_call  INTEGER NOT NULL CHECK (last_call >= first_call)
) STRICT;

-- A row for each time that a backup was restored: calls, contacts and events from these numbers on have their public ids from
-- this key. In the life that was lost the same numbers were given to others, whose ids programs may know.
CREATE TABLE life (
    id            INTEGER PRIMARY KEY,
    began_at      INTEGER NOT NULL,
    first_call    INTEGER NOT NULL,
    first_contact INTEGER NOT NULL,
    first_event   INTEGER NOT NULL,
    key           BLOB NOT NULL CHECK (length(key) = 16)
) STRICT;
