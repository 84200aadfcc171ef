"""`python -m dialer` is `dialer`."""


def main() -> None:
    """The command. Imported late: a loader process imports what its parent was started from, and needs none of it."""
    from dialer.cli import main as command

    command()


if __name__ == "__main__":
    main()
