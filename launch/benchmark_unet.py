"""Time of a train step of configs/ddpm_cifar10.py, beside diffusers' UNet2DModel in eager PyTorch.

    MALLOC_MMAP_THRESHOLD_=2147483647 MALLOC_TRIM_THRESHOLD_=2147483647 python launch/benchmark_unet.py

Both do the same, in turn: forward, backward, clipping, Adam and moving average, in float32. Needs the extra [parity].
The two variables are those that launch/quickstart.sh sets. On a busy machine put `taskset -c 0` before it and read the
processor time.
"""

import time

import diffusers
import jax
import numpy as np
import torch

from genjax.configs import ddpm_cifar10
from genjax.core.ranges import COUNT
from genjax.families import registry
from genjax.launcher import startup
from genjax.launcher.flags import define_number
from genjax.training import optim, state, step
from genjax.typing import DataSpec

_BATCH = define_number("batch_size", 8, "Images in a step.", COUNT)


def genjax_step(image):
    """A function that trains one step, and waits for it."""
    config = ddpm_cifar10.get_config().to_dict()
    family = registry.build(config["family"], config["model"], config["sampling"], DataSpec((32, 32, 3)))
    training, key, batch = config["training"], jax.random.key(0), {"image": jax.numpy.asarray(image)}
    optimizers = {"model": optim.make_optimizer(config["optimizer"]["model"], training["num_steps"])}
    train = jax.jit(step.make_train_step(family, optimizers, step.Ema(**training["ema"])), donate_argnums=0)
    now = jax.jit(state.make_init(family, optimizers, True))(key, batch)

    def run():
        nonlocal now
        now, _ = jax.block_until_ready(train(now, batch, {}, key))

    return run


def torch_step(image):
    """The same in PyTorch."""
    network = diffusers.UNet2DModel(
        block_out_channels=(128, 256, 256, 256),
        attention_head_dim=None,
        dropout=0.1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    )
    parameters = list(network.parameters())
    average, optimizer = [value.detach().clone() for value in parameters], torch.optim.Adam(parameters, 2e-4)
    alphas = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000), 0)[:, None, None, None]
    x0 = torch.from_numpy(image.transpose(0, 3, 1, 2).copy())

    def run():
        t, eps = torch.randint(0, 1000, (len(x0),)), torch.randn_like(x0)
        output = network(alphas[t].sqrt() * x0 + (1 - alphas[t]).sqrt() * eps, t).sample
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(output, eps).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        torch._foreach_lerp_(average, [value.detach() for value in parameters], 1e-4)

    return run


def main():
    image = np.random.default_rng(0).uniform(-1, 1, (_BATCH.value, 32, 32, 3)).astype(np.float32)
    times = {"genjax": (genjax_step(image), []), "diffusers, eager": (torch_step(image), [])}
    for _ in range(8):
        for run, taken in times.values():
            start = np.array([time.perf_counter(), time.process_time()])
            run()
            taken.append(np.array([time.perf_counter(), time.process_time()]) - start)
    for name, (_, taken) in times.items():  # the first two steps warm up
        wall, cpu = np.median(taken[2:], axis=0)
        print(f"{name:18} median step {wall:.3f} s, of processor time {cpu:.3f} s")


if __name__ == "__main__":
    startup.run(main)
