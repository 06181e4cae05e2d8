"""Equality of DiT with the one of diffusers, random weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nn.dit import DiT

torch = pytest.importorskip("torch", reason="needs the extra [parity]")
diffusers = pytest.importorskip("diffusers", reason="needs the extra [parity]")

pytestmark = pytest.mark.parity

DEPTH, WIDTH, PATCH = 2, 16, 2


@pytest.fixture(scope="module")
def reference():
    """Two blocks, nothing left at PyTorch's initial values.

    Two things of diffusers are set as in the published network: its blocks share one embedding of time and class, and
    the time's sinusoids have exponents i / half instead of i / (half - 1).
    """
    torch.manual_seed(0)
    network = diffusers.DiTTransformer2DModel(
        num_attention_heads=2, attention_head_dim=WIDTH // 2, in_channels=3, out_channels=6, num_layers=DEPTH,
        sample_size=8, patch_size=PATCH, num_embeds_ada_norm=10, norm_eps=1e-6,
    ).eval().double()  # fmt: skip
    embed = network.transformer_blocks[0].norm1.emb
    embed.time_proj.downscale_freq_shift = 0
    for block in network.transformer_blocks:
        block.norm1.emb = embed
    for name, value in network.named_parameters():
        if "pos_embed.pos_embed" not in name:
            value.data += 0.2 * torch.randn_like(value)
    return network


def params_of(network):
    """Its weights as ours: matrices [in, out], queries, keys and values joined, the patches' convolution as a layer."""
    arrays = {name: value.detach().numpy() for name, value in network.state_dict().items()}

    def dense(*names):
        kernels = [arrays[f"{name}.weight"].T for name in names]
        return {
            "kernel": np.concatenate(kernels, axis=1),
            "bias": np.concatenate([arrays[f"{name}.bias"] for name in names]),
        }

    def block(name):
        return {
            "modulation": dense(f"{name}.norm1.linear"),
            "qkv": dense(*(f"{name}.attn1.to_{part}" for part in "qkv")),
            "proj_out": dense(f"{name}.attn1.to_out.0"),
            "mlp_in": dense(f"{name}.ff.net.0.proj"),
            "mlp_out": dense(f"{name}.ff.net.2"),
        }

    embed, patches = "transformer_blocks.0.norm1.emb", arrays["pos_embed.proj.weight"]
    return {
        "time_embed": {
            "dense_in": dense(f"{embed}.timestep_embedder.linear_1"),
            "dense_out": dense(f"{embed}.timestep_embedder.linear_2"),
        },
        "label_embed": {"embedding": arrays[f"{embed}.class_embedder.embedding_table.weight"]},
        "patches": {
            "kernel": patches.transpose(2, 3, 1, 0).reshape(-1, WIDTH),
            "bias": arrays["pos_embed.proj.bias"],
        },
        **{f"block_{i}": block(f"transformer_blocks.{i}") for i in range(DEPTH)},
        "modulation": dense("proj_out_1"),
        "pixels": dense("proj_out_2"),
    }


def test_equals_diffusers(reference):
    """In float64, but for the sinusoids, which diffusers has in float32."""
    noise = np.random.default_rng(0)
    x = noise.standard_normal((3, 8, 8, 3))
    t, label = np.array([0.0, 3.0, 17.0]), np.array([0, 9, 10])
    with torch.no_grad():
        images = torch.from_numpy(x.transpose(0, 3, 1, 2))
        expected = reference(images, torch.from_numpy(t), torch.from_numpy(label)).sample.numpy()
    dit = DiT(out_channels=6, width=WIDTH, depth=DEPTH, num_heads=2, patch_size=PATCH, num_classes=10, null_class=True)
    with jax.enable_x64(True):
        inputs = jax.tree.map(jnp.asarray, ({"params": params_of(reference)}, x, t, label))
        found = np.asarray(jax.jit(dit.apply)(*inputs))
    error = np.abs(found - expected.transpose(0, 2, 3, 1)).max() / np.abs(expected).max()
    assert np.abs(expected).max() > 1 and error < 1e-6
