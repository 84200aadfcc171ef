import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Slow tests run where they are asked for: `pytest -m slow`."""
    if not config.option.markexpr:
        config.option.markexpr = "not slow"
