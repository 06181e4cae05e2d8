"""Edits of images through a diffusion model's sampling: what they keep, what compiles anew, and what is refused.

Stages are made by hand, with random weights: nothing is trained here.
"""

import functools
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from genjax import generate, sharding
from genjax.configs import classifier_digits, ddpm_digits
from genjax.configs.recipes import dits
from genjax.core import images as images_lib
from genjax.families import registry as families
from genjax.families.interfaces import Conditions
from genjax.pipelines import editing
from genjax.pipelines import sampling as sampling_lib
from genjax.pipelines.guides import classifier as classifier_guide
from genjax.pipelines.guides import registry
from genjax.stages import Stage
from genjax.typing import DataSpec
from tests.families import perturbed

SPEC = DataSpec((8, 8, 1), num_classes=10, class_names=tuple("0123456789"))
KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
IMAGE, OTHER = RNG.integers(0, 256, (2, 8, 8), np.uint8)
MASK = np.zeros((8, 8), np.uint8)
MASK[:, :5] = 255


def make_stage(config, scale=0.1):
    """Of random weights, and of a network that compiles fast."""
    if config.family == "diffusion":
        dits.network(config, width=8, depth=1, num_heads=1, patch_size=4)
    else:
        config.model.network.update(channel_mult=(1,), attention_resolutions=())
    family = families.build(config.family, config.model.to_dict(), config.sampling.to_dict(), SPEC)
    batch = {"image": jnp.zeros((1, *SPEC.image_shape)), "label": jnp.zeros(1, int)}
    return Stage(family, perturbed.noise(family, batch, scale, seed=1), config, SPEC, 0)


def model(scale=0.1, **sampling):
    config = ddpm_digits.get_config("tiny")
    config.sampling.update(sampling)
    return make_stage(config, scale)


@functools.cache
def shared_model():
    """For what looks at its shape alone."""
    return model()


@pytest.fixture
def files(tmp_path):
    """Paths of the two images and the mask."""
    paths = {}
    for name, pixels in {"image": IMAGE, "other": OTHER, "mask": MASK}.items():
        paths[name] = tmp_path / f"{name}.png"
        Image.fromarray(pixels).save(paths[name])
    return paths


def edited(name, text, count=3, guides=(), scale=0.1, **sampling):
    """Images drawn as `sample.py` draws them."""
    edit = editing.make(name, text)
    stage = model(scale, **{**edit.sampling, **sampling})
    stage = registry.guide(stage, [make(stage) for make in guides])
    return sampling_lib.draw(stage, count, label=2, conditions=edit.conditions(stage, count)).images[..., 0]


def by_classifier(stage):
    return classifier_guide.from_stage(make_stage(classifier_digits.get_config("tiny")), 3.0, stage)


def test_inpainting_keeps_the_known_pixels_to_the_bit(files):
    """Guided too; the others are made, and differ from image to image."""
    text = f"{files['image']}:{files['mask']}"
    found = edited("inpaint", text, guides=[by_classifier], sampler={"name": "ancestral"})
    np.testing.assert_array_equal(found[:, :, :5], np.broadcast_to(IMAGE[:, :5], (3, 8, 5)))
    assert (found[0, :, 5:] != IMAGE[:, 5:]).any() and (found[0] != found[1]).any()


def test_outpainting_is_inpainting_of_a_moved_image(files):
    found = editing.make("outpaint", f"{files['image']}:-3,2").conditions(model(), 4)
    assert found.known.shape == found.mask.shape == (4, 8, 8, 1)
    np.testing.assert_array_equal(np.argwhere(found.mask[3, :, :, 0] == 0)[:16, 0] < 2, True)
    np.testing.assert_allclose(found.known[3, 2:, :5, 0], IMAGE[:6, 3:] / 127.5 - 1, atol=1e-6)
    assert found.mask[0].sum() == 6 * 5


def test_a_weak_edit_stays_close_to_its_source(files):
    """A network of zeros moves x_t straight to its x0: what is left is the noise that was added."""
    found = edited("sdedit", f"{files['image']}:0.2", count=8, scale=0.0, num_steps="25").astype(float)
    assert 1 < np.abs(found - IMAGE).mean() < 40
    assert (found[0] != found[1]).any()


def test_interpolation_begins_and_ends_with_the_images(files):
    """With a network of zeros latents are images at another scale; the steps of almost no signal are skipped."""
    assert editing.make("interpolate", "a:b").sampling == {"sampler": {"name": "ddim"}, "strength": 0.95}
    found = edited("interpolate", f"{files['image']}:{files['other']}", count=5, scale=0.0, num_steps="20")
    for drawn, image in ((found[0], IMAGE), (found[-1], OTHER)):
        assert np.abs(drawn.astype(int) - image).max() <= 1
    steps = np.abs(np.diff(found.astype(float), axis=0)).mean((1, 2))
    assert steps.max() < 2 * steps.min()


def test_other_images_and_masks_compile_once():
    stage = model(resamples=2)
    chex.clear_trace_counter()

    @chex.assert_max_traces(n=1)
    def sample(weights, conditions, index, key):
        return stage.family.interface.sample(weights, conditions, index, key)

    draw = generate.make_generate(stage.interface._replace(sample=sample), sharding.make_mesh())
    for seed in range(3):
        known = np.random.default_rng(seed).uniform(-1, 1, (8, 8, 8, 1)).astype(np.float32)
        mask = (known > 0.2 * seed).astype(np.float32)
        conditions = Conditions(label=np.arange(8, dtype=np.int32), known=known, mask=mask)
        found = draw(stage.weights, 8, conditions, KEY, 8).images
        np.testing.assert_array_equal(found[mask > 0], images_lib.to_uint8(jnp.asarray(known))[mask > 0])


def test_images_are_brought_to_the_model(tmp_path):
    Image.fromarray(RNG.integers(0, 256, (40, 64, 3), np.uint8)).save(tmp_path / "wide.png")
    found = editing.read_image(tmp_path / "wide.png", model())
    assert found.shape == (8, 8, 1) and found.dtype == np.float32 and np.abs(found).max() <= 1


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("inpaint", "image.png", "--inpaint=image.png can't be read; write IMAGE:MASK"),
        ("sdedit", "image.png:much", "the strength 'much' is no number"),
        ("outpaint", "image.png:3", "'3' is no pair of whole numbers"),
        ("interpolate", ":b.png", "write FROM:TO"),
        *(("sdedit", f"a:{share}", rf"strength={share} must be in \(0, 1\]") for share in ("nan", "-inf", "0", "2")),
    ],
)
def test_what_cannot_be_read(name, text, message):
    with pytest.raises(ValueError, match=message):
        editing.make(name, text)


def test_an_image_is_inpainted_where_its_own_copy_has_a_hole(files, tmp_path):
    """The copy's colours say nothing: what was erased in it is remade."""
    hole = Image.fromarray(np.dstack([IMAGE] * 3 + [MASK]))
    hole.save(tmp_path / "hole.png")
    conditions = editing.make("inpaint", f"{files['image']}:{tmp_path / 'hole.png'}").conditions(shared_model(), 2)
    np.testing.assert_array_equal(conditions.mask[1, ..., 0], MASK / 255)
    np.testing.assert_allclose(conditions.known[1, ..., 0], IMAGE / 127.5 - 1, atol=1e-6)


@pytest.mark.parametrize(
    ("value", "message"), [(0, "keeps none of the 8x8 pixels.*everything is remade"), (1, "keeps all 8x8.*nothing is")]
)
def test_when_everything_or_nothing_is_remade_it_is_said(value, message, files, tmp_path, caplog):
    Image.new("L", (80, 80), value).save(tmp_path / "all.png")
    found = editing.make("inpaint", f"{files['image']}:{tmp_path / 'all.png'}").conditions(shared_model(), 1)
    np.testing.assert_array_equal(found.mask, np.full((1, 8, 8, 1), value))
    (record,) = caplog.records
    assert re.search(f"all.png {message}", record.getMessage()) and "\n" not in record.getMessage()
    caplog.clear()
    editing.make("inpaint", f"{files['image']}:{files['mask']}").conditions(shared_model(), 1)
    assert not caplog.records


def test_a_hole_outside_of_the_middle_square_is_told_of(tmp_path, caplog):
    wide = np.full((40, 100), 255, np.uint8)
    for name in ("wide", "hole"):
        Image.fromarray(wide).save(tmp_path / f"{name}.png")
        wide[:, :20] = 0
    editing.make("inpaint", f"{tmp_path}/wide.png:{tmp_path}/hole.png").conditions(shared_model(), 1)
    assert "keeps all 8x8 pixels of the model's middle square" in caplog.text


def test_a_mask_of_other_proportions_is_refused(files, tmp_path):
    Image.fromarray(MASK[:4]).save(tmp_path / "flat.png")
    with pytest.raises(ValueError, match="flat.png has 8x4 pixels and .*image.png 8x8: .* the same proportions"):
        editing.make("inpaint", f"{files['image']}:{tmp_path / 'flat.png'}").conditions(shared_model(), 1)


@pytest.mark.parametrize("offset", ["8,0", "0,-8", "-100,3", f"{10**30},0"])
def test_an_image_moved_out_of_its_frame_is_refused(offset, files):
    with pytest.raises(ValueError, match=r"nothing of the image is left in a frame of 8x8 .* within \+-7"):
        editing.make("outpaint", f"{files['image']}:{offset}").conditions(shared_model(), 1)


def test_an_image_that_is_not_moved_is_told_of(files, caplog):
    editing.make("outpaint", f"{files['image']}:0,0").conditions(shared_model(), 1)
    assert "nothing is made" in caplog.text


@pytest.mark.parametrize("kind", ["none.png", "folder", "text.png", "empty.png", "cut.png"])
@pytest.mark.parametrize(
    "requested", ["inpaint={}:ok", "inpaint=ok:{}", "outpaint={}:1,1", "sdedit={}:0.5", "interpolate={}:ok",
              "interpolate=ok:{}", "image={}:1", "style={}:1"]
)  # fmt: skip
def test_what_is_no_image_is_one_line_that_names_it(kind, requested, files, tmp_path):
    """Of edits and of guides."""
    (tmp_path / "folder").mkdir()
    contents = {"text.png": b"a cat", "empty.png": b"", "cut.png": files["image"].read_bytes()[:60]}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    name, _, text = requested.replace("ok", str(files["image"])).format(tmp_path / kind).partition("=")
    with pytest.raises(OSError, match=kind) as error:
        if name in registry.GUIDES:
            registry.make(f"{name}:{text}", shared_model())
        else:
            editing.make(name, text).conditions(shared_model(), 1)
    assert "\n" not in str(error.value)


def test_a_home_folder_is_understood(files, monkeypatch):
    monkeypatch.setenv("HOME", str(files["mask"].parent))
    found = editing.make("inpaint", "~/image.png:~/mask.png").conditions(shared_model(), 1)
    np.testing.assert_array_equal(found.mask[0, ..., 0], MASK / 255)


def test_what_cannot_be_edited(files):
    ranker = make_stage(classifier_digits.get_config("tiny"))
    with pytest.raises(ValueError, match="'noisy_classifier' can't edit"):
        editing.make("sdedit", f"{files['image']}:0.5").conditions(ranker, 1)
    with pytest.raises(ValueError, match=r"strength=1.5 must be in \(0, 1\]"):
        edited("sdedit", f"{files['image']}:1.5")
    with pytest.raises(OSError):
        edited("sdedit", "/nowhere.png:0.5")
