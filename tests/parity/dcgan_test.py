"""DCGAN in PyTorch, with the same weights: outputs, gradients and running statistics, and sizes at 64 pixels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.core.tree import count_params
from genjax.nn import dcgan

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity

KEY = jax.random.key(0)


def torch_generator(latent_dim, width, channels, changes):
    """As PyTorch's own example writes it, for any size."""
    widths = [width * 2**i for i in range(changes - 1, -1, -1)]
    layers = [torch.nn.ConvTranspose2d(latent_dim, widths[0], 4, 1, 0, bias=False)]
    for before, after in zip(widths, [*widths[1:], channels], strict=True):
        layers += [torch.nn.BatchNorm2d(before), torch.nn.ReLU()]
        layers += [torch.nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False)]
    return torch.nn.Sequential(*layers, torch.nn.Tanh())


def torch_discriminator(width, channels, changes):
    widths = [width * 2**i for i in range(changes)]
    layers = [torch.nn.Conv2d(channels, width, 4, 2, 1, bias=False), torch.nn.LeakyReLU(0.2)]
    for before, after in zip(widths, widths[1:], strict=False):
        layers += [torch.nn.Conv2d(before, after, 4, 2, 1, bias=False), torch.nn.BatchNorm2d(after)]
        layers += [torch.nn.LeakyReLU(0.2)]
    return torch.nn.Sequential(*layers, torch.nn.Conv2d(widths[-1], 1, 4, 1, 0, bias=False), torch.nn.Flatten(0))


def of_kind(module, *kinds):
    return [layer for layer in module if isinstance(layer, kinds)]


def port_generator(params, module):
    """Our parameters into PyTorch's layers; transposed kernels are stored flipped there."""
    first, *others = of_kind(module, torch.nn.ConvTranspose2d)
    project = np.asarray(params["project"]["kernel"]).reshape(first.in_channels, 4, 4, -1)
    copy(first.weight, project.transpose(0, 3, 1, 2))
    for i, layer in enumerate(others):
        copy(layer.weight, np.asarray(params[f"up_{i}"]["kernel"])[::-1, ::-1].transpose(2, 3, 0, 1))
    port_norms(params, module, first_index=0)


def port_discriminator(params, module):
    *convolutions, last = of_kind(module, torch.nn.Conv2d)
    for i, layer in enumerate(convolutions):
        copy(layer.weight, np.asarray(params[f"down_{i}"]["kernel"]).transpose(3, 2, 0, 1))
    copy(last.weight, np.asarray(params["logit"]["kernel"]).reshape(1, 4, 4, -1).transpose(0, 3, 1, 2))
    port_norms(params, module, first_index=1)


def port_norms(params, module, first_index):
    for i, layer in enumerate(of_kind(module, torch.nn.BatchNorm2d), start=first_index):
        copy(layer.weight, params[f"norm_{i}"]["scale"])
        copy(layer.bias, params[f"norm_{i}"]["bias"])


def copy(target, value):
    with torch.no_grad():
        target.copy_(torch.tensor(np.asarray(value).copy()))


def random_params(network, x):
    """Larger than at the start, so that every layer matters; gains and shifts of all sorts."""
    variables = network.init(KEY, x)
    noise = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: leaf + 0.05 * noise.standard_normal(leaf.shape, np.float32), variables["params"])
    return {**variables, "params": params}


def assert_close(ours, theirs):
    ours, theirs = np.asarray(ours), theirs.detach().numpy()
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())


def to_torch(images):
    return torch.tensor(np.asarray(images).transpose(0, 3, 1, 2).copy())


def test_generator():
    network = dcgan.Generator((16, 16, 3), width=8)
    z, pull = jax.random.normal(KEY, (6, 10)), jax.random.normal(KEY, (6, 16, 16, 3))
    variables = random_params(network, z)
    module = torch_generator(10, 8, 3, changes=2)
    port_generator(variables["params"], module)

    def pulled(params):
        images, updated = network.apply({**variables, "params": params}, z, train=True, mutable=["batch_stats"])
        return jnp.sum(pull * images), (images, updated)

    gradient, (images, updated) = jax.jit(jax.grad(pulled, has_aux=True))(variables["params"])
    theirs = module(torch.tensor(np.asarray(z))[:, :, None, None])
    assert_close(images, theirs.permute(0, 2, 3, 1))
    (theirs * to_torch(pull)).sum().backward()
    first, *others = of_kind(module, torch.nn.ConvTranspose2d)
    assert_close(gradient["project"]["kernel"].reshape(10, 4, 4, 16), first.weight.grad.permute(0, 2, 3, 1))
    for i, layer in enumerate(others):
        assert_close(gradient[f"up_{i}"]["kernel"][::-1, ::-1], layer.weight.grad.permute(2, 3, 0, 1))
    for i, layer in enumerate(of_kind(module, torch.nn.BatchNorm2d)):
        assert_close(gradient[f"norm_{i}"]["scale"], layer.weight.grad)
        stats, count = updated["batch_stats"][f"norm_{i}"], 6 * (4 * 2**i) ** 2
        assert_close(stats["mean"], layer.running_mean)
        assert_close(0.9 + (stats["var"] - 0.9) * count / (count - 1), layer.running_var)

    for i, layer in enumerate(of_kind(module, torch.nn.BatchNorm2d)):
        copy(layer.running_var, updated["batch_stats"][f"norm_{i}"]["var"])
    module.eval()
    ours = network.apply({"params": variables["params"], **updated}, z)
    assert_close(ours, module(torch.tensor(np.asarray(z))[:, :, None, None]).permute(0, 2, 3, 1))


def test_discriminator():
    network = dcgan.Discriminator(width=8)
    images, pull = jax.random.uniform(KEY, (6, 16, 16, 3), minval=-1), jax.random.normal(KEY, (6,))
    params = random_params(network, images)["params"]
    module = torch_discriminator(8, 3, changes=2)
    port_discriminator(params, module)

    def pulled(params, images):
        logits = network.apply({"params": params}, images)
        return jnp.sum(pull * logits), logits

    (by_params, by_images), logits = jax.jit(jax.grad(pulled, argnums=(0, 1), has_aux=True))(params, images)
    x = to_torch(images).requires_grad_()
    theirs = module(x)
    assert_close(logits, theirs)
    (theirs * torch.tensor(np.asarray(pull))).sum().backward()
    assert_close(by_images, x.grad.permute(0, 2, 3, 1))
    for i, layer in enumerate(of_kind(module, torch.nn.Conv2d)[:-1]):
        assert_close(by_params[f"down_{i}"]["kernel"], layer.weight.grad.permute(2, 3, 1, 0))
    (norm,) = of_kind(module, torch.nn.BatchNorm2d)
    assert_close(by_params["norm_1"]["bias"], norm.bias.grad)


def test_counts_at_64_pixels():
    generator, discriminator = dcgan.Generator((64, 64, 3), width=128), dcgan.Discriminator(width=128)
    with torch.device("meta"):
        modules = torch_generator(100, 128, 3, changes=4), torch_discriminator(128, 3, changes=4)
    for network, module, shape in zip((generator, discriminator), modules, [(1, 100), (1, 64, 64, 3)], strict=True):
        params = jax.eval_shape(network.init, KEY, jax.ShapeDtypeStruct(shape, jnp.float32))["params"]
        assert count_params(params) == sum(p.numel() for p in module.parameters())
    assert count_params(jax.eval_shape(generator.init, KEY, jnp.zeros((1, 100)))["params"]) == 12_658_432
