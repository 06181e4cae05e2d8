"""The diffusion core is taken without the rest: jax only."""

import subprocess
import sys

FOREIGN = ("flax", "orbax", "tensorflow_datasets", "grain", "absl", "optax", "ml_collections", "PIL")


def test_all_modules_load_jax_alone(root):
    code = (
        "import sys, pkgutil, importlib, genjax.diffusion as d\n"
        "from genjax.diffusion import samplers, schedules\n"
        "for m in pkgutil.iter_modules(d.__path__): importlib.import_module(f'genjax.diffusion.{m.name}')\n"
        f"print([m for m in {FOREIGN!r} if m in sys.modules])\n"
        "print(sorted(m for m in sys.modules if m.startswith('genjax.') and m.count('.') == 1))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    foreign, ours = done.stdout.strip().splitlines()
    assert foreign == "[]"
    assert ours == "['genjax.core', 'genjax.diffusion', 'genjax.typing']"
