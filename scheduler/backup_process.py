"""One backup, in a process of its own: `python -m scheduler.backup_process DATABASE FILE`."""

import os
import sys
from pathlib import Path


def main() -> int:
    """Take it at the lowest priority; 1, and the reason on standard error, where there is none."""
    os.nice(19)
    # Loading it takes half a second of a core, which is not to be had at the server's priority.
    from scheduler.backup import back_up

    try:
        back_up(Path(sys.argv[1]), Path(sys.argv[2]))
    except Exception as fault:  # noqa: BLE001 - whoever started this logs one line, whatever it is
        sys.stderr.write(f"{fault}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
