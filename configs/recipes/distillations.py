"""What the configs of students share: consistency models, progressive distillation, reflow.

What each field means is in `Settings` and `Sampling` of `genjax.families.distillation`.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import common


def student(objective: dict, grid: str, num_steps: int) -> ConfigDict:
    """`common.base()` with the fields of the distillation family; the network is the teacher's.

    Args:
        objective: {"name": "progressive", "consistency" or "reflow"} and its fields: the arguments of the function of
            this name in `genjax.diffusion.distillation`.
        grid: the teacher's, as `genjax.diffusion.grids.make` takes it.
        num_steps: steps that the student draws in.
    """
    config = common.base()
    config.family = "distillation"
    config.stages.teacher = ConfigDict({"workdir": ""})  # a run of the diffusion family, or of a student that can teach
    config.model.objective = ConfigDict(objective)
    config.model.grid = grid
    config.model.guidance_scale = 1.0
    config.optimizer = ConfigDict({"model": common.adam(1e-4)})
    config.sampling.num_steps = str(num_steps)
    config.sampling.clip = True
    config.sampling.trajectory = False
    config.sampling.batch_size = 64
    return config


def progressive(num_steps: int, grid: str, weight: dict) -> ConfigDict:
    """One round of progressive distillation (arXiv:2202.00512): into `num_steps`, from twice as many.

    Args:
        num_steps: of the student.
        grid: of all rounds; `num_steps` is an even share of its steps.
        weight: `genjax.diffusion.weighting` of the squared x0 error.
    """
    return student({"name": "progressive", "num_steps": num_steps, "weight": weight}, grid, num_steps)


def digits(config: ConfigDict, num_steps: int, learning_rate: float, variant: str) -> ConfigDict:
    """A student of a model of the digits, trained for so many steps; the variant "tiny" for 20.

    Raises:
        ValueError: for a variant other than "" and "tiny".
    """
    common.expect_variant(variant)
    config.data.update(name="digits", image_size=8, channels=1, batch_size=64)
    config.optimizer.model.update(learning_rate=learning_rate, warmup_steps=50, clip_norm=1.0, schedule="cosine")
    config.training.num_steps = num_steps
    config.training.ema.decay = 0.99
    config.checkpoint.every = config.log.sample_every = config.log.eval_every = num_steps // 2
    config.log.update(every=50, num_samples=100)
    config.sampling.batch_size = 250
    if variant == "tiny":
        config.data.batch_size = 16
        config.training.num_steps = 20
        config.checkpoint.every = 10
        config.log.update(every=5, sample_every=20, eval_every=20, num_samples=20)
        config.sampling.batch_size = 20
    return config
