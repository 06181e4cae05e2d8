"""Every family in pieces of its batch: the same gradient, loss, metrics and state as at once; or refused by name.

Pieces have keys of their own, so draws are made the same for all examples first: what is left is how a loss adds up.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.configs import (
    adm_classifier_imagenet64,
    ae_digits,
    beit_finetune_shapes,
    biggan_digits,
    clip_shapes,
    dcgan_digits,
    ddpm_digits,
    dvae_digits,
    gan_digits,
    iddpm_digits,
    pixelcnnpp_digits,
    real_nvp_digits,
    vae_digits,
    vqvae2_digits,
    vqvae_digits,
)
from genjax.configs.recipes import dits
from genjax.families import beit, gan, registry
from genjax.families.base import LossInputs
from genjax.training import accumulate
from genjax.typing import DataSpec
from tests.families import (
    beit_test,
    clip_ar_prior_test,
    clip_prior_test,
    code_prior_test,
    dalle_test,
    distillation_test,
    perturbed,
    toy_clip,
)

KEY = jax.random.key(0)
SPEC = DataSpec((8, 8, 1), num_classes=10)
BY_LOSS = {"codebook": {"learning": "loss", "restart_threshold": 0.0}}
DRAWS = ("normal", "uniform", "bernoulli", "categorical", "randint", "gumbel", "rademacher", "truncated_normal")


def build(module, spec=SPEC, **model):
    config = module.get_config("tiny")
    if module in (ddpm_digits, iddpm_digits):
        dits.network(config, width=8, depth=1, num_heads=1)
    for name, value in model.items():
        config.model[name].update(value) if isinstance(value, dict) else config.model.update({name: value})
    return registry.build(config.family, config.model.to_dict(), config.sampling.to_dict(), spec, {})


def images(count=8, shape=(8, 8, 1)):
    """Images, labels, and texts of unlike length."""
    rng = np.random.default_rng(1)
    batch = {"image": jnp.asarray(rng.uniform(-1, 1, (count, *shape)), jnp.float32)}
    return batch | {"label": jnp.arange(count, dtype=jnp.int32) % 10}


def distilled():
    teacher = distillation_test.make_teacher()
    return distillation_test.make_student(teacher, "reflow"), images(), {"teacher": teacher[1]}


CHEAP = {
    "dalle": lambda: (dalle_test.build(), dalle_test.batch(), dalle_test.FROZEN),
    "diffusion": lambda: (build(ddpm_digits), images(), {}),
    "gan": lambda: (build(gan_digits), images(), {}),
    "vqvae": lambda: (build(vqvae_digits, **BY_LOSS), images(), {}),
}
DEAR = {
    "clip_prior": lambda: (clip_prior_test.build(), toy_clip.batch(8), toy_clip.FROZEN),
    "clip_ar_prior": lambda: (clip_ar_prior_test.build(), toy_clip.batch(8), toy_clip.FROZEN),
    "autoencoder": lambda: (build(ae_digits), images(), {}),
    "beit": lambda: (beit_test.build(), images(), beit_test.FROZEN),
    "code_prior": lambda: (code_prior_test.build(), code_prior_test.batch(8), code_prior_test.FROZEN),
    "distillation": distilled,
    "dvae": lambda: (build(dvae_digits), images(), {}),
    "hybrid": lambda: (build(iddpm_digits), images(), {}),
    "image_classifier": lambda: (build(beit_finetune_shapes), images(), {}),
    "noisy_classifier": lambda: (build(adm_classifier_imagenet64), images(), {}),
    "pixelcnnpp": lambda: (build(pixelcnnpp_digits), images(), {}),
    "real_nvp": lambda: (build(real_nvp_digits), images(), {}),
    "vae": lambda: (build(vae_digits), images(), {}),
    "vqvae2": lambda: (build(vqvae2_digits, **BY_LOSS), images(), {}),
}


def make_alike(draw):
    """The random function whose numbers don't depend on the key, nor on the place along the first axis."""

    def drawn(key, *args, **kwargs):
        found = draw(jax.random.key(3), *args, **kwargs)
        return found if found.ndim == 0 else jnp.broadcast_to(found[:1], found.shape)

    return drawn


@pytest.fixture
def alike(monkeypatch):
    """All draws are the same for all examples, whatever piece they are in; only hidden patches are not."""
    for name in DRAWS:
        monkeypatch.setattr(jax.random, name, make_alike(getattr(jax.random, name)))
    monkeypatch.setattr(gan, "NOISES", {name: make_alike(draw) for name, draw in gan.NOISES.items()})
    seen, codes = [], beit.Model.batch_codes
    monkeypatch.setattr(beit.Model, "batch_codes", lambda model, *args: seen.append(args[0]) or codes(model, *args))
    # The bright patches of each image, many or few.
    monkeypatch.setattr(beit.Model, "draw_masks", lambda model, count, key: seen.pop()[:, ::2, ::2, 0] > 0.3)


def check(case, pieces):
    family, batch, frozen = case()
    assert not any(player.batch_coupled for player in family.players)
    params, extra, *_ = perturbed.weights(family, batch)
    for player in family.players:
        others = {name: value for name, value in params.items() if name != player.name}
        inputs = LossInputs(others, extra, frozen, batch, KEY, jnp.int32(50))

        def run(params, inputs, player=player):
            return [accumulate.compute(player, params, inputs, microbatches) for microbatches in (1, *pieces)]

        whole, *summed = jax.jit(run)(params[player.name], inputs)
        assert jnp.isfinite(whole.loss) and max(float(jnp.abs(g).max()) for g in jax.tree.leaves(whole.grads)) > 1e-4
        for found in summed:
            chex.assert_trees_all_close(whole, found, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("alike")
@pytest.mark.parametrize("case", CHEAP.values(), ids=CHEAP)
def test_pieces_add_up_to_the_batch(case):
    check(case, (4,))


@pytest.mark.slow
@pytest.mark.usefixtures("alike")
@pytest.mark.parametrize("case", (CHEAP | DEAR).values(), ids=CHEAP | DEAR)
def test_any_number_of_pieces_adds_up_to_the_batch(case):
    check(case, (2, 4))


@pytest.mark.parametrize(
    ("module", "changes", "reason"),
    [
        (biggan_digits, {}, "batch norm.*spectral norms"),
        (dcgan_digits, {}, "batch norm"),
        (gan_digits, {"generator": {"name": "dcgan", "base": 2}}, "batch norm"),
        (iddpm_digits, {"time_sampler": {"name": "loss_aware"}}, "loss_aware.*move once a batch"),
        (vae_digits, {"free_bits": 0.5}, "free bits.*mean over the whole batch"),
        (vqvae_digits, {}, "codebook.*once a batch"),
        (vqvae2_digits, {}, "codebook.*once a batch"),
    ],
)
def test_what_needs_the_whole_batch_is_refused(module, changes, reason):
    with pytest.raises(ValueError, match=f"microbatches=2 .*{reason}.*; set it to 1"):
        accumulate.check(build(module, **changes), 2)


def test_pairs_and_moving_targets_need_the_whole_batch():
    spec = DataSpec((16, 16, 3), has_text=True, text_length=16, vocab_size=64)
    with pytest.raises(ValueError, match="contrastive"):
        accumulate.check(build(clip_shapes, spec), 2)
    with pytest.raises(ValueError, match="target is a moving average"):
        accumulate.check(distillation_test.make_student(distillation_test.make_teacher(), "consistency"), 2)
