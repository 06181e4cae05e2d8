"""Equality of the transformer with GPT-2 of transformers, random weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.autoregressive import masking
from genjax.nn.transformer import Transformer

torch = pytest.importorskip("torch", reason="needs the extra [parity]")
transformers = pytest.importorskip("transformers", reason="needs the extra [parity]")

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module")
def gpt2():
    """Two blocks of GPT-2, nothing left at PyTorch's zeros and ones."""
    torch.manual_seed(0)
    config = transformers.GPT2Config(n_embd=24, n_layer=2, n_head=3, n_positions=16, vocab_size=11)
    network = transformers.GPT2Model(config).eval()
    for value in network.parameters():
        value.data += 0.2 * torch.randn_like(value)
    return network


def params_of(gpt2):
    """Its weights as ours; GPT-2 keeps its matrices [in, out], as Flax does."""
    arrays = {name: value.detach().numpy() for name, value in gpt2.state_dict().items()}

    def norm(name):
        return {"scale": arrays[f"{name}.weight"], "bias": arrays[f"{name}.bias"]}

    def dense(name):
        return {"kernel": arrays[f"{name}.weight"], "bias": arrays[f"{name}.bias"]}

    blocks = {
        f"block_{i}": {
            "norm_attention": norm(f"h.{i}.ln_1"),
            "qkv": dense(f"h.{i}.attn.c_attn"),
            "proj_out": dense(f"h.{i}.attn.c_proj"),
            "norm_mlp": norm(f"h.{i}.ln_2"),
            "mlp_in": dense(f"h.{i}.mlp.c_fc"),
            "mlp_out": dense(f"h.{i}.mlp.c_proj"),
        }
        for i in range(2)
    }
    return {**blocks, "norm_out": norm("ln_f")}


def test_stack_equals_gpt2_at_once_and_step_by_step(gpt2):
    x = np.random.default_rng(0).normal(size=(2, 9, 24)).astype(np.float32)
    with torch.no_grad():
        # GPT-2 adds its positions to what it is given.
        positions = gpt2.wpe.weight[:9]
        expected = gpt2(inputs_embeds=torch.from_numpy(x) - positions).last_hidden_state.numpy()
    trunk = Transformer(depth=2, width=24, num_heads=3, activation="gelu_tanh")
    variables = {"params": params_of(gpt2)}

    @jax.jit
    def steps(x):
        cache = trunk.apply(variables, 2, 9, method="init_cache")

        def body(cache, at):
            now = jax.lax.dynamic_slice_in_dim(x, at, 1, axis=1)
            y, cache = trunk.apply(variables, now, cache, at, method="extend")
            return cache, y[:, 0]

        return jax.lax.scan(body, cache, jnp.arange(9))[1].swapaxes(0, 1)

    at_once = jax.jit(trunk.apply)(variables, jnp.asarray(x), masking.causal(9))
    for output in (at_once, steps(jnp.asarray(x))):
        error = np.abs(output - expected).max() / np.abs(expected).max()
        print(f"relative error {error:.1e}")  # shown by pytest -s
        assert error < 1e-5
