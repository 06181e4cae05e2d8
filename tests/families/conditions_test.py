"""What may be requested of sampling; other names of conditions, options and settings are refused with the known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import generate, sharding
from genjax.families.conditions import Conditions
from genjax.families.interfaces import ImageSampler, Samples, Weights
from genjax.families.settings import read_settings
from genjax.families.shared.diffusion_model import Sampling

INTERFACE = ImageSampler(
    lambda weights, conditions, index, key: Samples(jnp.zeros((len(index), 2, 2, 1))),
    (2, 2, 1),
    num_classes=3,
    options={"truncation": 0.0},
    low_res_shape=(1, 1, 1),
    optional=("latent",),
)


def test_an_unknown_condition_is_refused_with_the_known_ones():
    with pytest.raises(TypeError, match="no condition 'labels'; there are label, tokens, .*options"):
        Conditions(labels=jnp.arange(2))


def test_a_condition_or_option_that_a_model_would_not_heed_is_refused_with_its_own():
    assert INTERFACE.conditions == ("label", "low_res", "latent")
    draw = generate.make_generate(INTERFACE, sharding.make_mesh())

    def run(conditions):
        return draw(Weights({}, (), {}), 2, conditions, jax.random.key(0), 2)

    with pytest.raises(ValueError, match=r"no condition 'tokens'; it takes \['label', 'latent', 'low_res'\]"):
        run(Conditions(label=np.arange(2), tokens=np.ones((2, 3), int)))
    with pytest.raises(ValueError, match=r"no option 'top_k'; it has \['truncation'\]"):
        generate.options(INTERFACE, {}, {"top_k": 3.0})
    assert run(Conditions(label=np.arange(2), options={"truncation": 0.5})).images.shape == (2, 2, 2, 1)


def test_an_unknown_setting_is_refused_with_the_known_ones():
    known = {"sampler": {"name": "ddim"}, "num_steps": "4", "threshold": {"name": "none"}}
    with pytest.raises(ValueError, match=r"config.sampling: unknown \['eta'\]; its fields are .*'num_steps'"):
        read_settings(Sampling, {**known, "eta": 0.5}, "config.sampling")


def test_conditions_pass_through_jax_and_are_taken_of_batches():
    batch = {"image": jnp.zeros((2, 4, 4, 1)), "label": jnp.arange(2), "present": jnp.ones(2, bool)}
    found = Conditions.of_batch(batch)
    assert [name for name, value in zip(found._fields, found) if value is not None] == ["label", "image", "options"]
    doubled = jax.jit(lambda given: jax.tree.map(lambda leaf: 2 * leaf, given))(found._replace(options={"top_k": 2.0}))
    np.testing.assert_array_equal(doubled.label, [0, 2])
    assert doubled.options == {"top_k": 4.0} and doubled.latent is None


def test_codes_that_are_kept_come_in_the_order_of_drawing():
    codes, mask = jnp.arange(8).reshape(2, 2, 2), jnp.ones((2, 2, 2), bool)
    given = Conditions(codes=(None, codes), codes_mask=(None, mask))
    assert given.known_codes(0) is None and Conditions().known_codes() is None
    np.testing.assert_array_equal(given.known_codes(1).tokens, [[0, 1, 2, 3], [4, 5, 6, 7]])
    assert given.known_codes(1).mask.shape == (2, 4)
