"""Priors over codes: the chain rule over levels, what is frozen, drawing and its options, and bad input."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import sharding
from genjax.configs import vqvae2_prior_digits, vqvae2_prior_imagenet256, vqvae_prior_digits, vqvae_prior_imagenet128
from genjax.configs.recipes import priors
from genjax.core import tree
from genjax.families import code_prior, registry
from genjax.families.interfaces import Conditions, ImageSampler, Tokenizer, Weights
from genjax.typing import DataSpec
from tests.families import losses

SPEC = DataSpec((8, 8, 1), num_classes=3)
KEY = jax.random.key(0)
K = 5


def encode(weights, images):
    """Mean brightness of 4x4 and of 2x2 patches, in K levels; the frozen weights shift it."""

    def level(size):
        means = images.reshape(len(images), 8 // size, size, 8 // size, size).mean((2, 4))
        return jnp.clip(jnp.floor((means + weights.params["shift"] + 1) / 2 * K), 0, K - 1).astype(jnp.int32)

    return level(4), level(2)


def decode(weights, codes):
    """Patches of even brightness."""
    return (2 * codes[1].repeat(2, 1).repeat(2, 2)[..., None] + 1) / K - 1 - 0 * weights.params["shift"]


TOKENIZER = Tokenizer(encode, decode, K, ((2, 2), (4, 4)), (8, 8, 1))
FROZEN = {"tokenizer": Weights({"shift": jnp.float32(0.0)}, (), {})}


def settings(**changes):
    networks = [
        priors.transformer(width=16, depth=1, num_heads=2, dropout=0.1),
        priors.gated_pixelcnn(width=8, depth=1, first_kernel=3, head_width=8),
    ]
    config = priors.code_prior(*networks)
    config.model.context.update(width=8, num_blocks=1)
    config.model.update(changes)
    return config.model.to_dict()


def build(spec=SPEC, tokenizer=TOKENIZER, **changes):
    return registry.build("code_prior", settings(**changes), {}, spec, {"tokenizer": tokenizer})


def batch(count=12):
    image = jax.random.uniform(KEY, (count, 8, 8, 1), minval=-1, maxval=1)
    return {"image": image, "label": jnp.arange(count, dtype=jnp.int32) % 3}


def coded(batch):
    return {f"codes_{i}": codes for i, codes in enumerate(encode(FROZEN["tokenizer"], batch["image"]))} | {
        "label": batch["label"]
    }


@pytest.fixture(scope="module")
def family():
    return build()


@pytest.fixture(scope="module")
def fresh(family):
    return jax.jit(family.init)(KEY, batch(1))[0]


@pytest.fixture(scope="module")
def weights(fresh):
    """Parameters with noise, so that everything matters."""
    noise = np.random.default_rng(0)
    noisy = jax.tree.map(lambda leaf: leaf + 0.1 * noise.standard_normal(leaf.shape, np.float32), fresh)
    return Weights(noisy, (), FROZEN)


@pytest.fixture(scope="module")
def evaluate(family):
    return jax.jit(family.evaluate)


@pytest.fixture(scope="module")
def losses_of(family):
    """Level -> its loss of parameters and a batch, compiled."""
    return [compiled_loss(family, level) for level in range(2)]


def compiled_loss(family, level):
    return jax.jit(
        lambda params, examples: (
            losses.compute(family, params, examples, KEY, player=f"level_{level}", frozen=FROZEN).value
        )
    )


@pytest.fixture(scope="module")
def sample(family):
    return jax.jit(family.interface.sample)


def conditions(count, start=0, **options):
    index = jnp.arange(start, start + count)
    options = {name: jnp.float32(value) for name, value in options.items()}
    return Conditions(label=index % 3, options=options), index


def test_one_player_a_level_each_with_its_own_network(family, weights):
    assert [player.name for player in family.players] == ["level_0", "level_1"]
    assert set(weights.params["level_0"]) == {"network"}
    assert set(weights.params["level_1"]) == {"network", "context"}
    assert isinstance(family.interface, ImageSampler) and family.interface.num_classes == 3


def test_untrained_it_knows_nothing(evaluate, fresh):
    evaluation = evaluate(Weights(fresh, (), FROZEN), batch(), KEY)
    np.testing.assert_allclose(evaluation["level_0_nats_per_code"], math.log(K), atol=0.2)


def test_codes_may_come_with_the_batch_or_from_its_images(evaluate, losses_of, weights):
    for loss in losses_of:
        assert loss(weights.params, batch()) == loss(weights.params, coded(batch()))
    live, cached = (evaluate(weights, examples, KEY)["nll_nats"] for examples in (batch(), coded(batch())))
    np.testing.assert_array_equal(live, cached)


def test_evaluation_adds_up(evaluate, weights):
    values = evaluate(weights, batch(), KEY)
    by_level = [values[f"level_{i}_nats_per_code"] * n for i, n in enumerate((4, 16))]
    np.testing.assert_allclose(values["nll_nats"], sum(by_level), rtol=1e-5)
    np.testing.assert_allclose(values["bits_per_dim"], values["nll_nats"] / 64 / math.log(2), rtol=1e-5)
    parts = values["level_0_bits_per_dim"] + values["level_1_bits_per_dim"]
    np.testing.assert_allclose(values["bits_per_dim"], parts, rtol=1e-5)


@pytest.fixture(scope="module")
def two_codes():
    """(a model of a tiny tokenizer, its weights, its evaluation of every pair of grids for label 1)."""
    tokenizer = TOKENIZER._replace(num_codes=2, grids=((1, 1), (2, 2)))
    model = code_prior.make_model(code_prior.Settings(**settings()), tokenizer, SPEC)
    shapes, _ = jax.eval_shape(lambda key: model.init(key, batch(1)), KEY)
    noise = np.random.default_rng(4)
    params = jax.tree.map(lambda leaf: jnp.asarray(0.5 * noise.standard_normal(leaf.shape), leaf.dtype), shapes)
    weights = Weights(params, (), FROZEN)
    every = np.stack(np.meshgrid(*[[0, 1]] * 5, indexing="ij"), -1).reshape(-1, 5)
    codes = {
        "codes_0": jnp.asarray(every[:, :1].reshape(-1, 1, 1)),
        "codes_1": jnp.asarray(every[:, 1:].reshape(-1, 2, 2)),
        "label": jnp.full(32, 1),
    }
    return model, weights, jax.jit(model.evaluate)(weights, codes, KEY)


def test_the_levels_make_a_distribution(two_codes):
    """Chances of all grids of a tiny tokenizer, both levels, sum to one."""
    nats = two_codes[2]["nll_nats"]
    assert jnp.exp(-nats).sum() == pytest.approx(1, rel=1e-5)
    assert jnp.exp(-nats).std() > 1e-4


def test_only_the_level_s_own_parameters_and_no_frozen_ones_get_a_gradient(family, weights):
    def loss(params, frozen):
        return losses.compute(family, params, batch(), KEY, player="level_1", frozen=frozen).value

    own, frozen = jax.jit(jax.grad(loss, argnums=(0, 1)))(weights.params, FROZEN)
    assert all(jnp.abs(leaf).max() > 0 for leaf in jax.tree.leaves(own["level_1"]))
    assert all((leaf == 0).all() for leaf in jax.tree.leaves((own["level_0"], frozen)))


def test_coarse_codes_and_labels_matter(evaluate, weights):
    codes = coded(batch())
    before = evaluate(weights, codes, KEY)
    other = evaluate(weights, {**codes, "codes_0": (codes["codes_0"] + 1) % K}, KEY)
    assert jnp.abs(other["level_1_nats_per_code"] - before["level_1_nats_per_code"]).min() > 1e-4
    other = evaluate(weights, {**codes, "label": (codes["label"] + 1) % 3}, KEY)
    for level in range(2):
        assert jnp.abs(other[f"level_{level}_nats_per_code"] - before[f"level_{level}_nats_per_code"]).min() > 1e-4


def test_noise_is_in_what_is_shown_alone(fresh, losses_of):
    noisy = [compiled_loss(build(code_noise=1.0), level) for level in range(2)]
    codes = coded(batch())
    constant = {**codes, "codes_0": jnp.full_like(codes["codes_0"], 2), "codes_1": jnp.full_like(codes["codes_1"], 2)}

    def fit(level):
        """The loss after the last bias alone has learned the only code that there is to predict."""
        name = f"level_{level}"
        head = fresh[name]["network"]["head"]
        sure = {"kernel": 0 * head["kernel"], "bias": 50.0 * jax.nn.one_hot(2, K)}
        own = {**fresh[name], "network": {**fresh[name]["network"], "head": sure}}
        return noisy[level]({**fresh, name: own}, constant)

    for level in range(2):
        assert fit(level) < 1e-6, "targets are not replaced"
    assert abs(losses_of[1](fresh, codes) - noisy[1](fresh, codes)) > 1e-5


def test_an_image_does_not_depend_on_the_batch(sample, weights):
    together = sample(weights, *conditions(6), KEY).images
    assert together.shape == (6, 8, 8, 1) and len(np.unique(np.asarray(together), axis=0)) == 6
    np.testing.assert_array_equal(together[3:], sample(weights, *conditions(6, start=3), KEY).images[:3])


def test_codes_are_drawn_from_the_model(two_codes):
    """Shares of codes drawn against the chances that `evaluate` gives them."""
    model, weights, values = two_codes
    count = 6_000
    requested = (Conditions(label=jnp.full(count, 1)), jnp.arange(count))
    codes = jax.jit(lambda key: model.sample_codes(weights, *requested, key))(KEY)
    numbers = np.concatenate([np.asarray(level).reshape(count, -1) for level in codes], 1) @ [16, 8, 4, 2, 1]
    shares = np.bincount(numbers, minlength=32) / count
    np.testing.assert_allclose(shares, np.exp(-values["nll_nats"]), atol=0.01)


def test_options_are_traced_and_change_the_draw(family, sample, weights):
    count = 0

    @jax.jit
    def draw(conditions):
        nonlocal count
        count += 1
        return family.interface.sample(weights, *conditions, KEY).images

    neutral = family.interface.options
    assert neutral == {"guidance_scale": 1.0, "temperature": 1.0, "top_k": 0.0, "top_p": 1.0}
    at_neutral = draw(conditions(6, **neutral))
    np.testing.assert_array_equal(at_neutral, sample(weights, *conditions(6), KEY).images)
    for changed in ({"guidance_scale": 9.0}, {"temperature": 0.1}, {"top_k": 1.0}, {"top_p": 0.1}):
        assert (draw(conditions(6, **{**neutral, **changed})) != at_neutral).any(), changed
    assert count == 1


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: registry.build("code_prior", settings(), {}, SPEC), "stages.tokenizer.workdir=DIR"),
        (lambda: build(tokenizer="vae"), "has to be the run of a Tokenizer"),
        (lambda: build(tokenizer=TOKENIZER._replace(grids=((4, 4),))), r"\['level_0'\], not \['level_0', 'level_1'\]"),
        (lambda: build(tokenizer=TOKENIZER._replace(image_shape=(16, 16, 1))), r"\(16, 16, 1\), config.data has"),
        (lambda: build(spec=DataSpec((8, 8, 1))), "needs data with class labels"),
        (lambda: build(networks={"level_0": {"name": "mlp"}, "level_1": {}}), "unknown network 'mlp'"),
        (
            lambda: build(networks={"level_0": {"name": "transformer", "kernel_size": 3}, "level_1": {}}),
            r"a transformer has no \['kernel_size'\]",
        ),
    ],
)
def test_bad_input_is_told_of(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_guidance_needs_dropped_labels(weights):
    family = build(label_dropout=0.0)
    with pytest.raises(ValueError, match="label_dropout > 0"):
        family.interface.sample(weights, *conditions(2, guidance_scale=2.0), KEY)


CONFIGS = {
    "vqvae_prior_digits": (vqvae_prior_digits, ((4, 4),), (8, 8, 1)),
    "vqvae2_prior_digits": (vqvae2_prior_digits, ((2, 2), (4, 4)), (8, 8, 1)),
    "vqvae_prior_imagenet128": (vqvae_prior_imagenet128, ((32, 32),), (128, 128, 3)),
    "vqvae2_prior_imagenet256": (vqvae2_prior_imagenet256, ((32, 32), (64, 64)), (256, 256, 3)),
}


def parameters(config, grids, image_shape, num_codes=512):
    """Parameters of each level, in millions."""
    spec = DataSpec(image_shape, num_classes=1000)
    tokenizer = TOKENIZER._replace(grids=grids, num_codes=num_codes, image_shape=image_shape)
    family = registry.build(config.family, config.model.to_dict(), {}, spec, {"tokenizer": tokenizer})
    assert {player.name for player in family.players} == set(config.optimizer)
    assert set(family.interface.options) <= set(config.sampling)
    params, _ = jax.eval_shape(family.init, KEY, {})
    if num_codes == 512:
        mesh = sharding.make_mesh(data=1, fsdp=4, tensor=2)
        assert sharding.check_coverage(params, sharding.infer(params, mesh, family.logical_axes), 0.99) > 0.99
    return [tree.count_params(params[player.name]) / 1e6 for player in family.players]


@pytest.mark.parametrize("name", CONFIGS)
def test_tiny_configs_build(name):
    module, grids, _ = CONFIGS[name]
    assert max(parameters(module.get_config("tiny"), grids, (8, 8, 1), 16)) < 0.1
    assert module.get_config("tiny").data.name == "digits"


@pytest.mark.parametrize("name", CONFIGS)
def test_configs_build(name):
    module, grids, image_shape = CONFIGS[name]
    sizes = parameters(module.get_config(), grids, image_shape)
    print(name, sizes)
    assert min(sizes) > (10 if "imagenet" in name else 0.05)
