"""The tool that plants faults: which it knows, what it leaves alone, and that it tells found ones from survivors."""

import json
import subprocess

import pytest

from tests.mutation import operators, trials

SOURCE = '''"""Not "a - b"."""
import math


def area(width: int = 2, height: float = 0.5) -> float:
    """width * height."""
    if width < 0:
        raise ValueError(f"width={width - 1}")
    return abs(width * height, scale=True) if width else min(1.0, -width)
'''


def planted(text, operator):
    return {(one.before, one.after) for one in operators.mutants("genjax/a.py", text) if one.operator == operator}


def test_each_operator_plants_its_fault_and_nothing_is_planted_in_words_or_errors():
    every = operators.mutants("genjax/a.py", SOURCE)
    assert not any(mutant.line in (1, 2, 6, 8) for mutant in every)
    assert planted(SOURCE, "arithmetic") == {("width * height", "width / height")}
    assert planted(SOURCE, "drop term") == {("width * height", "width"), ("-width", "width")}
    assert planted(SOURCE, "comparison") == {("width < 0", "width <= 0")}
    assert planted(SOURCE, "arguments") == {("min(1.0, -width)", "min(-width, 1.0)")}
    assert planted(SOURCE, "drop keyword") == {("abs(width * height, scale=True)", "abs(width * height)")}
    assert planted(SOURCE, "drop call") == {("abs(width * height, scale=True)", "width * height")}
    assert planted(SOURCE, "constant") == {
        ("2", "3"), ("2", "1"), ("0.5", "1.0"), ("0", "1"), ("True", "False"), ("1.0", "2.0"),
    }  # fmt: skip
    assert len(planted(SOURCE, "branches")) == 1


@pytest.mark.parametrize(("text", "operator", "before", "after"), [
    ("y = jnp.where(a, b, c)", "arguments", "jnp.where(a, b, c)", "jnp.where(a, c, b)"),
    ("y = jnp.mean(x)", "relative", "jnp.mean(x)", "jnp.sum(x)"),
    ("y = jnp.maximum(a, b)", "relative", "jnp.maximum(a, b)", "jnp.minimum(a, b)"),
    ("y = a and b", "boolean", "a and b", "a or b"),
    ("y = f(jax.lax.stop_gradient(x))", "drop call", "jax.lax.stop_gradient(x)", "x"),
    ("y = net(x, train=True)", "constant", "True", "False"),
    ("x += 1", "statement", "x += 1", "pass"),
    ("a, b = rng.stream(key, 'a'), rng.stream(key, 'b')", "stream", "rng.stream(key, 'a')", "rng.stream(key, 'b')"),
])  # fmt: skip
def test_faults_of_numerical_code(text, operator, before, after):
    assert (before, after) in planted(text, operator)


def test_a_fault_is_in_its_place_alone_and_precedence_is_kept():
    (mutant,) = [one for one in operators.mutants("a.py", "é = 'ü'\ny = 2 * (a + b) ** c\n") if one.before == "a + b"
                 and one.operator == "arithmetic"]  # fmt: skip
    assert mutant.text == "é = 'ü'\ny = 2 * ((a - b)) ** c\n" and mutant.line == 2
    assert mutant.diff("é = 'ü'\ny = 2 * (a + b) ** c\n").splitlines() == [
        "-y = 2 * (a + b) ** c",
        "+y = 2 * ((a - b)) ** c",
    ]


def test_a_sample_is_by_the_seed_and_of_all_kinds():
    every = operators.mutants("genjax/a.py", SOURCE)
    first, again, other = (operators.choose(every, 8, seed) for seed in (0, 0, 1))
    assert first == again != other and len({mutant.name for mutant in first}) == 8
    assert len({mutant.operator for mutant in first}) == 8
    assert len(operators.choose(every, 1000, 0)) == len(every)


@pytest.fixture
def project(tmp_path):
    """A package of one function, half of which is tested."""
    root = tmp_path / "project"
    files = {
        "genjax/core/sums.py": "def double(x):\n    return x * 2\n\n\ndef half(x):\n    return x / 2\n",
        "genjax/nn/uses.py": "from genjax.core import sums\n",
        "tests/core/sums_test.py": "from genjax.core import sums\n\n\ndef test_double():\n"
        "    assert sums.double(3) == 6\n",
        "tests/nn/uses_test.py": "from genjax.nn import uses\n",
        "tests/integration/all_test.py": "from genjax.core import sums\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    return root


def test_tests_of_a_module_are_its_mirror_and_those_around_it(project):
    assert trials.tests_of(project, "genjax/core/sums.py") == ["tests/core/sums_test.py", "tests/nn/uses_test.py"]
    assert trials.sources(project, "genjax/core") == ["genjax/core/sums.py"]
    with pytest.raises(ValueError, match="--only=tests has to be a folder or a file of genjax/"):
        trials.sources(project, "tests")


def test_what_is_tested_is_killed_what_is_not_survives_and_nothing_is_tried_twice(project, capsys):
    results, before = project.parent / "mutants.jsonl", (project / "genjax/core/sums.py").read_text()
    chosen = [one for one in operators.mutants("genjax/core/sums.py", before) if one.operator == "arithmetic"]
    tests = ["tests/core/sums_test.py"]
    for _ in range(2):
        trials.run(project, chosen, results, tests, timeout=60, limit=5)
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    assert [line["verdict"] for line in lines] == ["killed", "survived"] and "test_double" in lines[0]["by"]
    assert (project / "genjax/core/sums.py").read_text() == before, "the checkout is left alone"
    text = trials.report(lines)
    assert "genjax/core/sums.py:6 arithmetic: x / 2 -> x * 2\n-    return x / 2\n+    return (x * 2)" in text
    assert "genjax/core                       1 of    2" in text and "return x * 2\n" not in text


def test_a_fault_that_hangs_is_found(project):
    endless = project / "tests/core/sums_test.py"
    endless.write_text("def test_forever():\n    while True:\n        pass\n")
    (mutant,) = operators.mutants("genjax/core/sums.py", (project / "genjax/core/sums.py").read_text())[:1]
    trials.run(project, [mutant], project / "r.jsonl", [], timeout=2, limit=1)
    assert [line["verdict"] for line in trials.read(project / "r.jsonl")] == ["timeout"]
