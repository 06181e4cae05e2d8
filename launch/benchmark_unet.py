"""Time of a train step of configs/ddpm_cifar10.py, beside diffusers' UNet2DModel in eager PyTorch.

    MALLOC_MMAP_THRESHOLD_=2147483647 MALLOC_TRIM_THRESHOLD_=2147483647 python launch/benchmark_unet.py

Both do the same: forward, backward, clipping, Adam and moving average of 35.7M parameters in float32. Their
steps alternate, so that other work on the machine slows both. Needs the extra [parity]. The two variables
keep glibc from giving large buffers back at every step; launch/quickstart.sh sets them too.
"""

import time

import diffusers
import jax
import numpy as np
import torch
from absl import flags

from configs import ddpm_cifar10
from genjax import launcher
from genjax.families import registry
from genjax.training import optim, state, step
from genjax.typing import DataSpec

_BATCH = flags.DEFINE_integer("batch_size", 8, "Pictures in a step.")


def genjax_step(image):
    """A function that trains one step, and waits for it."""
    config = ddpm_cifar10.get_config().to_dict()
    family = registry.build(config["family"], config["model"], config["sampling"], DataSpec((32, 32, 3)))
    training, key, batch = config["training"], jax.random.key(0), {"image": jax.numpy.asarray(image)}
    optimizers = {"model": optim.make_optimizer(config["optimizer"]["model"], training["num_steps"])}
    train = step.make_train_step(family, optimizers, step.Ema(**training["ema"]))
    train = jax.jit(train, donate_argnums=0)
    holder = [jax.jit(state.make_init(family, optimizers, True))(key, batch)]

    def run():
        holder[0], metrics = train(holder[0], batch, {}, key)
        jax.block_until_ready((holder[0], metrics))

    return run


def torch_step(image):
    """The same in PyTorch."""
    network = diffusers.UNet2DModel(
        sample_size=32, block_out_channels=(128, 256, 256, 256), attention_head_dim=None, dropout=0.1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"))
    parameters = list(network.parameters())
    average = [value.detach().clone() for value in parameters]
    optimizer = torch.optim.Adam(parameters, 2e-4)
    alphas = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000), 0)
    x0 = torch.from_numpy(image.transpose(0, 3, 1, 2).copy())

    def run():
        t, eps = torch.randint(0, 1000, (len(x0),)), torch.randn_like(x0)
        alpha = alphas[t][:, None, None, None]
        x_t = alpha.sqrt() * x0 + (1 - alpha).sqrt() * eps
        loss = torch.nn.functional.mse_loss(network(x_t, t).sample, eps)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        torch._foreach_lerp_(average, [value.detach() for value in parameters], 1e-4)

    return run


def main():
    image = np.random.default_rng(0).uniform(-1, 1, (_BATCH.value, 32, 32, 3)).astype(np.float32)
    times = {"genjax": (genjax_step(image), []), "diffusers, eager": (torch_step(image), [])}
    for _ in range(10):
        for run, seconds in times.values():
            seconds.append(-time.perf_counter())
            run()
            seconds[-1] += time.perf_counter()
    for name, (_, seconds) in times.items():  # the first two warm up
        print(f"{name:18} median {np.median(seconds[2:]):.3f} s, fastest {min(seconds[2:]):.3f} s a step")


if __name__ == "__main__":
    launcher.run(main)
