"""What can be wrong with a config file is told in one line."""

import pytest

from genjax.launcher import config_files


def test_a_config_and_its_variant():
    assert config_files.read("configs/ddpm_digits.py:tiny").family == "diffusion"
    tiny, whole = (config_files.read(f"configs/ddpm_digits.py{v}").training.num_steps for v in (":tiny", ""))
    assert tiny < whole


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the path is empty"),
        ("configs/nothing.py", "there is no config file configs/nothing.py"),
        ("configs", "there is no config file configs"),
        ("README.md", "README.md is no config: a config is a Python file"),
        ("gs://bucket/config.py", "gs:// isn't supported"),
        ("configs/recipes/common.py", r"configs/recipes/common.py has no get_config\(\)"),
        ("configs/ddpm_digits.py:huge", r"configs/ddpm_digits.py, line \d+: unknown variant 'huge' of the config"),
    ],
)
def test_what_is_no_config(root, monkeypatch, text, words):
    monkeypatch.chdir(root)
    with pytest.raises(ValueError, match=words):
        config_files.read(text)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def get_config(:", "mine.py, line 1: invalid syntax"),
        ("import no_such_module", "mine.py, line 1: ModuleNotFoundError: No module named 'no_such_module'"),
        ("\ndef get_config():\n    return {}['x']", "mine.py, line 3: KeyError: 'x'"),
        ("def get_config():\n    return int('many')", r"mine.py, line 2: invalid literal for int\(\).*'many'"),
        ("def get_config(): pass", r"get_config\(\) of .*mine.py returns a NoneType"),
        ("import sys\nsys.exit('no')\n", "mine.py, line 2: SystemExit: no"),
        ("version https://git-lfs.github.com/spec/v1\noid x", "mine.py is a git-lfs pointer"),
        ("", "mine.py is an empty file"),
        ("get_config = 3", r"mine.py has no get_config\(\)"),
        ("def get_config(a, b): pass", "mine.py: TypeError: .*missing 2 required"),
    ],
)
def test_a_file_that_fails_is_named_with_the_line(tmp_path, source, words):
    (tmp_path / "mine.py").write_text(source)
    with pytest.raises(ValueError, match=words):
        config_files.read(str(tmp_path / "mine.py"))


def test_a_config_without_variants(tmp_path):
    (tmp_path / "mine.py").write_text("def get_config(): pass")
    with pytest.raises(ValueError, match="mine.py has no variants: leave :tiny out"):
        config_files.read(f"{tmp_path / 'mine.py'}:tiny")


def test_a_file_that_is_no_text(tmp_path):
    (tmp_path / "mine.py").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="mine.py"):
        config_files.read(str(tmp_path / "mine.py"))
