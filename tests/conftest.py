import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write", action="store_true", help="long sweeps put their results into docs/durability.md")


def pytest_configure(config: pytest.Config) -> None:
    """Slow tests run where they are asked for: `pytest -m slow`."""
    if not config.option.markexpr:
        config.option.markexpr = "not slow"
