"""Equality of the diffusion prior's transformer with diffusers' PriorTransformer, whose defaults are Karlo's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nn.prior_transformer import PriorTransformer
from genjax.pretrained import karlo

torch = pytest.importorskip("torch", reason="needs the extra [parity]")
diffusers = pytest.importorskip("diffusers", reason="needs the extra [parity]")

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module")
def theirs():
    """Two blocks, nothing left at PyTorch's zeros and ones."""
    torch.manual_seed(0)
    network = diffusers.PriorTransformer(
        num_attention_heads=2, attention_head_dim=8, num_layers=2, embedding_dim=12, num_embeddings=7
    ).eval()
    for value in network.parameters():
        value.data += 0.2 * torch.randn_like(value)
    return network


def test_equals_diffusers(theirs):
    rng = np.random.default_rng(0)
    noisy, text = rng.normal(size=(2, 3, 12)).astype(np.float32)
    states = rng.normal(size=(3, 7, 12)).astype(np.float32)
    t, mask = np.array([0.0, 37.0, 999.0], np.float32), np.arange(7) < np.array([[4], [7], [1]])
    with torch.no_grad():
        inputs = (torch.from_numpy(array) for array in (noisy, t, text, states, mask))
        expected = theirs(*inputs).predicted_image_embedding.numpy()
    arrays = {name: value.numpy() for name, value in theirs.state_dict().items()}
    network = PriorTransformer(12, width=16, depth=2, num_heads=2)
    params = karlo.prior_params(arrays, network)
    output = jax.jit(network.apply)({"params": params}, noisy, t, states, mask, text)
    error = np.abs(output - expected).max() / np.abs(expected).max()
    print(f"relative error {error:.1e}")  # shown by pytest -s
    assert error < 1e-5


def test_karlo_fits(theirs):
    """The layout of Karlo's prior, without its weights, fits the defaults; so does its count."""
    with torch.device("meta"):
        karlos = diffusers.PriorTransformer()
    arrays = {name: np.broadcast_to(np.float32(0), value.shape) for name, value in karlos.state_dict().items()}
    network = PriorTransformer(768)
    fresh = jax.eval_shape(
        network.init,
        jax.random.key(0),
        jnp.zeros((1, 768)),
        jnp.zeros(1),
        jnp.zeros((1, 77, 768)),
        jnp.ones((1, 77), bool),
        jnp.zeros((1, 768)),
    )["params"]
    assert jax.tree.map(np.shape, karlo.prior_params(arrays, network)) == jax.tree.map(np.shape, fresh)
    assert [value.shape for value in karlo.statistics(arrays)] == [(768,), (768,)]
    assert sum(value.size for value in jax.tree.leaves(fresh)) == 1_022_028_544
