"""Fixtures of the data tests: one prepared data folder for the session."""

import pytest


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory) -> str:
    """A data folder of this session's own, where embedded datasets are built on first use."""
    return str(tmp_path_factory.mktemp("tfds"))
