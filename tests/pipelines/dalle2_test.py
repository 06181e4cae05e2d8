"""DALL-E 2 as one stage: who is told what, swapped priors, and images changed by their embeddings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from genjax.data.tokenizers import TextTokenizer
from genjax.families.base import Family, Player
from genjax.families.interfaces import Conditions, EmbeddingSampler, Samples, Weights
from genjax.pipelines import dalle2, dalle2_editing
from genjax.pipelines import sampling as sampling_lib
from genjax.stages import Stage
from tests.families import toy_clip
from tests.families.dalle2_test import shaken
from tests.families.toy_clip import CLIP, DIM, FROZEN, SPEC


class Words(TextTokenizer):
    """A tokenizer of captions "1", "2", ..: the number itself."""

    length, vocab_size, checksum = toy_clip.LENGTH, toy_clip.VOCAB, 7

    def __init__(self):
        pass

    def encode(self, text):
        return np.array([int(text or 0), 0, 0], np.int32)

    def lost(self, text):
        return []

    unknown = lost


def stage(family, weights, sampling, checksum, name):
    config = ConfigDict({"family": name, "sampling": {"batch_size": 4, **sampling}, "data": {"name": "toy"}})
    return Stage(family, weights, config, SPEC, 1, checksum, {"clip": CLIP}, Words())


def prior(turn=1.0, scale=3.0):
    """A prior that gives the caption's own embedding, turned around or not, and told its guidance scale."""

    def sample(weights, conditions, index, key):
        found = CLIP.encode_text(weights.frozen["clip"], conditions.tokens)
        return weights.params["turn"] * found * jnp.sign(conditions.options.get("guidance_scale", 1.0))

    interface = EmbeddingSampler(sample, DIM, toy_clip.LENGTH, {"guidance_scale": 1.0})
    family = Family(None, (Player("model", None),), None, interface)
    weights = Weights({"turn": jnp.float32(turn)}, (), FROZEN)
    return stage(family, weights, {"guidance_scale": scale}, 3, "clip_prior")


@pytest.fixture(scope="module")
def decoder():
    """A decoder that draws by DDIM, with nothing left at zero."""
    return stage(*shaken(), {"guidance_scale": 1.0}, 5, "dalle2")


@pytest.fixture(scope="module")
def whole(decoder):
    return dalle2.join(prior(), decoder)


def test_the_decoder_is_told_what_the_prior_draws(whole, decoder):
    tokens = np.array([[1, 0, 0], [2, 0, 0]], np.int32)
    drawn = sampling_lib.draw(whole, 2, conditions=Conditions(tokens=tokens))
    embed = np.asarray(CLIP.encode_text(FROZEN["clip"], tokens))
    alone = sampling_lib.draw(decoder, 2, conditions=Conditions(tokens=tokens, image_embed=embed))
    np.testing.assert_array_equal(drawn.images, alone.images)
    turned = sampling_lib.draw(dalle2.join(prior(turn=-1.0), decoder), 2, conditions=Conditions(tokens=tokens))
    assert np.abs(turned.images.astype(int) - drawn.images).max() > 0


def told(decoder, requested, seed=0):
    """(conditions, key) that the prior and the decoder are given, by role."""
    seen = {}

    def noting(name, one, found, field="sample"):
        def sample(weights, conditions, index, key):
            seen[name] = (conditions, key)
            return found

        interface = one.family.interface._replace(**{field: sample})
        return one._replace(family=one.family._replace(interface=interface))

    both = dalle2.join(
        noting("prior", prior(), jnp.zeros((1, DIM)), "sample_embeddings"),
        noting("decoder", decoder, Samples(jnp.zeros((1, 8, 8, 3)))),
    )
    both.interface.sample(both.weights, requested, jnp.arange(1), jax.random.key(seed))
    return seen


def test_the_prior_s_noise_is_not_the_decoder_s(decoder):
    seen = told(decoder, Conditions(tokens=jnp.zeros((1, 3), int)), seed=4)
    keys = {name: jax.random.key_data(key).tolist() for name, (_, key) in seen.items()}
    assert keys["decoder"] == jax.random.key_data(jax.random.key(4)).tolist() != keys["prior"]


def test_the_prior_and_the_decoder_are_guided_by_scales_of_their_own(decoder):
    scales = {"guidance_scale": jnp.float32(2.0), "prior_guidance_scale": jnp.float32(5.0)}
    for names, wanted in (
        (list(scales), {"prior": {"guidance_scale": 5.0}, "decoder": {"guidance_scale": 2.0}}),
        (["guidance_scale"], {"prior": {}, "decoder": {"guidance_scale": 2.0}}),
        (["prior_guidance_scale"], {"prior": {"guidance_scale": 5.0}, "decoder": {}}),
    ):
        requested = Conditions(tokens=jnp.zeros((1, 3), int), options={name: scales[name] for name in names})
        assert {name: given.options for name, (given, _) in told(decoder, requested).items()} == wanted
    given = Conditions(tokens=jnp.zeros((1, 3), int), image_embed=jnp.ones((1, DIM)), options=scales)
    assert {name: given.options for name, (given, _) in told(decoder, given).items()} == {
        "decoder": {"guidance_scale": 2.0}
    }


def test_options_and_names(whole):
    assert whole.config.sampling.prior_guidance_scale == 3.0 and whole.config.sampling.guidance_scale == 1.0
    assert set(whole.interface.options) == {"guidance_scale", "prior_guidance_scale"}
    assert whole.interface.text_length == toy_clip.LENGTH and whole.config.family == "dalle2"
    # CLIP's weights are held once.
    held = [whole.weights.frozen[name].frozen["clip"] for name in ("prior", "decoder")]
    assert held[0] is held[1]


def test_stages_that_do_not_fit_are_refused(decoder):
    with pytest.raises(ValueError, match="has to draw CLIP embeddings"):
        dalle2.join(decoder, decoder)
    with pytest.raises(ValueError, match="has to draw images"):
        dalle2.join(prior(), prior())
    other = jax.tree.map(lambda leaf: leaf + 1, FROZEN)
    with pytest.raises(ValueError, match="different CLIPs"):
        dalle2.join(prior()._replace(weights=Weights({}, (), other)), decoder)
    with pytest.raises(ValueError, match="decodes no CLIP embeddings"):
        dalle2.decoder_of(prior())


@pytest.fixture
def images(tmp_path, monkeypatch):
    """Paths of two files; the toy's images have four channels, which no file has."""
    rng = np.random.default_rng(1)
    arrays = {}
    for name in ("a", "b"):
        Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8)).save(tmp_path / f"{name}.png")
        arrays[str(tmp_path / f"{name}.png")] = rng.uniform(-1, 1, (4, 4, DIM)).astype(np.float32)
    monkeypatch.setattr(dalle2_editing, "read_as", lambda path, shape: arrays[str(path)])
    return list(arrays), list(arrays.values())


def test_edits_start_and_end_where_they_should(whole, images):
    (first, second), arrays = images
    seen = np.asarray(toy_clip.encode_image(None, jnp.stack(arrays), None))
    told = dalle2_editing.make("variations", f"{first}:0.5").conditions(whole, 3)
    assert not told.tokens.any() and told.latent.shape == (3, *toy_clip.SHAPE)
    np.testing.assert_allclose(told.image_embed, np.repeat(seen[:1], 3, axis=0), rtol=1e-5)
    blend = dalle2_editing.make("blend", f"{first}:{second}").conditions(whole, 3)
    np.testing.assert_allclose(blend.image_embed[[0, 2]], seen, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(blend.image_embed, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(blend.latent[0], told.latent[0], atol=1e-4)
    diff = dalle2_editing.make("text_diff", f"{first}:1:2").conditions(whole, 3)
    np.testing.assert_allclose(diff.image_embed[0], seen[0], atol=1e-5)
    before, after = CLIP.encode_text(FROZEN["clip"], jnp.array([[1, 0, 0], [2, 0, 0]]))
    change = np.asarray(dalle2_editing.text_difference(before, after))
    along = diff.image_embed @ change
    assert along[0] < along[1] < along[2]
    # Half of the angle, at most.
    np.testing.assert_allclose(np.arccos(along[2]), 0.5 * np.arccos(seen[0] @ change), rtol=1e-3)


def test_an_image_is_described_at_the_size_of_clip_and_of_the_decoder(decoder, monkeypatch):
    """Every pixel counts in the source that is inverted, where it is made smaller."""
    image = np.random.default_rng(2).uniform(-1, 1, (16, 16, DIM)).astype(np.float32)
    monkeypatch.setattr(dalle2_editing, "read_as", lambda path, shape: image if shape == image.shape else None)
    interface = decoder.interface._replace(invert=lambda weights, requested, index, key: requested.source)
    family, clip = decoder.family._replace(interface=interface), CLIP._replace(image_shape=image.shape)
    z, source = dalle2_editing.describe(decoder._replace(family=family, parents={"clip": clip}), "a.png")
    np.testing.assert_allclose(z, toy_clip.encode_image(None, image[None], None), rtol=1e-5)
    np.testing.assert_allclose(source, jax.image.resize(image[None], (1, *toy_clip.SHAPE), "bilinear"), atol=1e-6)


def test_edits_of_the_command_line_are_read():
    assert dalle2_editing.make("variations", "C:/a.png:0.5").sampling == {"sampler": {"name": "ddim", "eta": 0.5}}
    for name, text in (("variations", "a.png"), ("variations", "a.png:x"), ("blend", ":b"), ("text_diff", "a.png:x")):
        with pytest.raises(ValueError, match=f"--{name}"):
            dalle2_editing.make(name, text)
    for eta in ("nan", "inf", "-1"):
        with pytest.raises(ValueError, match=f"--variations: eta={eta} must be a number from 0 on"):
            dalle2_editing.make("variations", f"a.png:{eta}")
    for name, text in (("blend", "a.png:"), ("text_diff", "a.png: :b"), ("text_diff", "a:b:"), ("variations", ":1")):
        with pytest.raises(ValueError, match=f"--{name}=.* can't be read"):
            dalle2_editing.make(name, text)
    with pytest.raises(ValueError, match="mean the same"):
        dalle2_editing.text_difference(jnp.ones(3), jnp.ones(3))
