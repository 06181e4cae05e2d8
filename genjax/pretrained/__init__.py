"""Floor 3: converters from public checkpoints to parameters of genjax, one file an origin."""
