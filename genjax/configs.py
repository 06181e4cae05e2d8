"""The configs that come with genjax, as modules: `from genjax.configs import common, ddpm_digits`.

In a checkout they lie at the top, in `configs/`, and this file points there; installed they are a folder beside this
file, which Python prefers to it.
"""

from pathlib import Path

__path__ = [str(Path(__file__).parents[1] / "configs")]
