"""The page that adds a family shows what the repository holds, and its code works as a family of another name."""

import re
import sys
import types
from pathlib import Path

import pytest

from genjax import stages
from genjax.families import registry

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "add_a_family.md"
BLOCK = re.compile(r'^```python title="([^"]+)"\n(.*?)^```$', re.DOTALL | re.MULTILINE)
FAMILY, CONFIG = "genjax/families/real_nvp.py", "configs/real_nvp_digits.py"


def blocks():
    """Path -> the pieces of that file on the page, in their order."""
    found = {}
    for path, code in BLOCK.findall(PAGE.read_text()):
        found.setdefault(path, []).append(code)
    return found


def test_what_the_page_shows_is_in_the_files():
    found = blocks()
    assert len(found) >= 5
    for path, pieces in found.items():
        rest = (ROOT / path).read_text()
        for piece in pieces:
            assert piece in rest, f"not in {path}, or not in this order:\n{piece}"
            rest = rest.partition(piece)[2]


@pytest.mark.parametrize("path", [FAMILY, CONFIG])
def test_the_page_shows_all_of_the_family_and_of_its_config(path):
    shown = "".join(blocks()[path])
    assert shown.split() == (ROOT / path).read_text().split()


def test_a_family_is_at_most_sixty_lines():
    assert len((ROOT / FAMILY).read_text().splitlines()) <= 60


def test_every_python_block_and_every_path_of_the_page_is_held():
    text = PAGE.read_text()
    assert len(re.findall(r"^```python", text, re.MULTILINE)) == len(BLOCK.findall(text))
    for path in re.findall(r"`((?:genjax|configs|tests|launch)/[\w/]+(?:\.py|/))`", text):
        assert (ROOT / path).exists(), path


def execute(name, path):
    """What the page shows of a file, as a module of its own."""
    module = types.ModuleType(name)
    sys.modules[name] = module
    exec(compile("".join(blocks()[path]), str(PAGE), "exec"), vars(module))
    return module


def test_the_code_of_the_page_trains_under_another_name(monkeypatch, data_dir, tmp_path):
    """Neither the trainer nor the registry's builder knows a family but by its entry in the table."""
    monkeypatch.setitem(sys.modules, "page_family", None)
    monkeypatch.setitem(sys.modules, "page_config", None)
    module, configs = execute("page_family", FAMILY), execute("page_config", CONFIG)
    assert module.build is not registry.build
    monkeypatch.setitem(registry.FAMILIES, "page_family", "page_family")
    config = configs.get_config("tiny")
    config.family = "page_family"
    config.data.data_dir = data_dir
    config.model.network.update(num_scales=1, num_couplings=1)  # compiles in a moment
    config.training.num_steps = config.checkpoint.every = config.log.eval_every = config.log.sample_every = 2
    config.log.update(every=1, num_samples=8)
    stages.train(config, tmp_path / "run")
    assert (tmp_path / "run" / "samples" / "step_2.png").is_file()
    stage = stages.load(tmp_path / "run")
    assert isinstance(stage.family.init.__self__, module.Model)
