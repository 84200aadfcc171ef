"""What a start has to put right before the engine looks at the database: campaigns that were still being loaded.

Everything else that a crash leaves behind is the engine's to judge: open attempts, claimed and unclaimed calls.
"""

from typing import Final

from scheduler.connection import disk_errors, sqlite3, transaction

_CHUNK: Final = 5_000


def remove_unfinished_loads(connection: sqlite3.Connection) -> int:
    """Remove every campaign in status `loading`, with its calls; how many. Nobody was told that they were accepted.

    Runs in bounded transactions and can be cut off anywhere: the campaign's own row goes last. Only for a start, when
    no loader works. Raises `StoreUnavailable`.
    """
    with disk_errors():
        loads = connection.execute("SELECT id, first_call, size FROM campaign WHERE status = 'loading'").fetchall()
    # The calls of a load have neither attempts nor timers. With the check on, each deleted call would search the
    # whole timer table, whose key does not begin with the call.
    connection.execute("PRAGMA foreign_keys = OFF")
    try:
        for campaign, first, size in loads:
            for start in range(first, first + size, _CHUNK):
                with transaction(connection):
                    stop = min(start + _CHUNK, first + size)
                    connection.execute("DELETE FROM intake_change WHERE call_id >= ? AND call_id < ?", (start, stop))
                    connection.execute("DELETE FROM call WHERE id >= ? AND id < ?", (start, stop))
            with transaction(connection):
                connection.execute("DELETE FROM intake WHERE campaign_id = ?", (campaign,))
                connection.execute("DELETE FROM campaign WHERE id = ?", (campaign,))
    finally:
        connection.execute("PRAGMA foreign_keys = ON")
    return len(loads)
