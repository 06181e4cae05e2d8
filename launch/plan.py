"""How a config would lie on many devices: `genjax-plan`, from a checkout. See `genjax/launcher/plan.py`."""

from genjax.launcher import plan

if __name__ == "__main__":
    plan.run()
