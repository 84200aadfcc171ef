"""The examples in the core's docstrings are true."""

import doctest
import importlib
import pkgutil

import pytest

import dialer.core

MODULES = [module.name for module in pkgutil.iter_modules(dialer.core.__path__, "dialer.core.")]
WITH_EXAMPLES = {"attempt", "disposition", "recall"}


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_hold(name: str) -> None:
    found = doctest.testmod(importlib.import_module(name))
    assert found.failed == 0
    assert found.attempted > 0 or name.rpartition(".")[2] not in WITH_EXAMPLES
