"""Imports go down the floors only, families don't know each other, and a piece loads without the rest."""

import ast
import subprocess
import sys

import pytest

FLOORS = {
    "typing": 0, "core": 0,
    "diffusion": 1, "autoregressive": 1, "losses": 1, "sharding": 1, "data": 1,
    "conditioning": 1.5,
    "nn": 2,
    "families": 3, "metrics": 3, "pretrained": 3,
    "training": 4, "generate": 4,
    "stages": 5, "pipelines": 5,
    "api": 6, "launcher": 6, "__main__": 6,
    "configs": 0,  # imports nothing of genjax
}  # fmt: skip
SEAM = {"base", "conditions", "interfaces", "settings", "terms", "options", "shared"}
ROOMS_ALONE = {"diffusion", "autoregressive", "losses", "sharding", "data"}


def imports(path):
    """Modules of genjax that a file imports, dotted."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("genjax"))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("genjax"):
            assert node.level == 0, f"{path}: imports are absolute"
            for alias in node.names:
                yield f"{node.module}.{alias.name}"


def modules(root):
    files = sorted((root / "genjax").rglob("*.py"))
    return {path: ".".join(path.relative_to(root).with_suffix("").parts) for path in files}


def room(module):
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else None


def test_every_room_has_a_floor(root):
    rooms = {room(name) for name in modules(root).values()} - {"__init__"}
    assert rooms <= FLOORS.keys(), f"no floor for {rooms - FLOORS.keys()}"


def test_no_step_upward(root):
    wrong = []
    for path, name in modules(root).items():
        for target in imports(path):
            here, there = room(name), room(target)
            if here in FLOORS and there in FLOORS and here != there:
                sideways = FLOORS[here] == FLOORS[there] and (here in ROOMS_ALONE or there in ROOMS_ALONE)
                if FLOORS[there] > FLOORS[here] or sideways:
                    wrong.append(f"{name} imports {target}")
    assert not wrong, "\n".join(wrong)


def test_families_do_not_know_each_other(root):
    for path, name in modules(root).items():
        if name.startswith("genjax.families."):
            for target in imports(path):
                if target.startswith("genjax.families."):
                    assert target.split(".")[2] in SEAM, f"{name} imports {target}"


def test_training_knows_no_family_but_the_seam(root):
    for path, name in modules(root).items():
        if name.startswith("genjax.training."):
            for target in imports(path):
                if target.startswith("genjax.families"):
                    assert target.split(".")[2] in SEAM - {"shared"}, f"{name} imports {target}"


def test_no_cycles(root):
    names = modules(root)
    known = set(names.values())
    graph = {}
    for path, name in names.items():
        targets = set()
        for target in imports(path):
            targets.add(target if target in known else target.rsplit(".", 1)[0])
        graph[name] = targets & known - {name}

    done, walking = set(), []

    def visit(name):
        assert name not in walking, f"cycle: {' -> '.join([*walking, name])}"
        if name in done:
            return
        walking.append(name)
        for target in graph[name]:
            visit(target)
        walking.pop()
        done.add(name)

    for name in graph:
        visit(name)


def test_launch_mains_are_short(root):
    for path in (root / "launch").glob("*.py"):
        if not path.name.startswith("benchmark"):
            assert len(path.read_text().splitlines()) < 40, f"{path.name} grows; move its work down a floor"


@pytest.mark.parametrize(
    "statement",
    [
        "from genjax.diffusion import samplers, schedules",
        "from genjax.diffusion import guidance, loss, sample",
        "from genjax.core import images, rng, tree",
    ],
)
def test_a_piece_loads_without_the_rest(root, statement):
    heavy = "('flax', 'orbax', 'tensorflow_datasets', 'grain', 'absl', 'optax', 'sklearn')"
    code = f"{statement}\nimport sys\nloaded = [m for m in {heavy} if m in sys.modules]\nassert not loaded, loaded"
    result = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
