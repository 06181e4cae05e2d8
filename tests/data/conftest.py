"""Fixtures of the data tests."""

import pytest

from genjax.data import announce


@pytest.fixture(autouse=True)
def fresh(tmp_path_factory, monkeypatch):
    """Each test is a program of its own, which has said nothing yet, with a cache folder of its own."""
    monkeypatch.setattr(announce, "_SAID", set())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
