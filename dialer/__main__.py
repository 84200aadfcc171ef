"""`python -m dialer` is `dialer`."""

import os
import sys


def main() -> None:
    """The command. Imported late: a loader process imports what its parent was started from, and needs none of it."""
    _open_what_is_closed()
    try:
        from dialer.cli import main as command

        command()
    except KeyboardInterrupt:  # also while all of that is imported
        sys.exit(130)


def _open_what_is_closed() -> None:
    """Standard streams that the caller has closed (`>&-`) lead nowhere: else the next file that is opened takes their place."""
    while (opened := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(opened, True)
    os.close(opened)
    for name, number, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 - as long as the process


if __name__ == "__main__":
    main()
