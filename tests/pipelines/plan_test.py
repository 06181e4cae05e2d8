"""Plans: DALL-E's 12 billion parameters on 256 devices that aren't there, and what a plan refuses."""

import importlib

import pytest

from genjax.configs import dalle_12b, dvae_dalle, vqvae_imagenet128
from genjax.pipelines import plan

TOKENIZER = {"tokenizer": dvae_dalle.get_config()}


def read(name):
    return importlib.import_module(f"configs.{name}").get_config()


@pytest.fixture(scope="module")
def dalle():
    return plan.make(dalle_12b.get_config(), 256, TOKENIZER)


def test_dalle_has_its_parameters_and_each_device_its_share_of_them(dalle):
    assert dalle.mesh == {"data": 1, "fsdp": 128, "tensor": 2}
    assert dalle.parameters == 12_292_840_960
    assert dalle.coverage > 0.999
    assert dalle.num_bytes("params") == 4 * dalle.parameters == dalle.num_bytes("ema")
    for part, copies in (("params", 1), ("opt_state", 2), ("ema", 1)):
        share = copies * 4 * dalle.parameters / 256
        assert share <= dalle.bytes_per_device(part) < 1.05 * share, part
    assert dalle.bytes_per_device() < 2**30


def test_every_large_array_of_dalle_is_cut_over_all_devices(dalle):
    large = [placed for placed in dalle.parts["params"] if placed.num_bytes >= 4 * plan.LARGE]
    assert len(large) == 64 * 4 + 4
    assert {placed.shards for placed in large} == {256}
    assert {placed.axes for placed in large} == {("fsdp", "tensor"), ("tensor", "fsdp")}


def test_a_plan_in_words(dalle):
    text = plan.describe(dalle)
    assert "12,292,840,960 parameters on 256 devices (data=1, fsdp=128, tensor=2)" in text
    assert "64 x trunk/block_*/qkv/kernel" in text and "3968/fsdp x 11904/tensor" in text


def test_frozen_stages_count(dalle):
    assert dalle.num_bytes("frozen") == 4 * (53_786_240 + 43_829_766)


def test_refuses():
    with pytest.raises(ValueError, match="--parent=tokenizer:FILE"):
        plan.make(dalle_12b.get_config("tiny"), 8)
    with pytest.raises(ValueError, match="fsdp=1, tensor=1 doesn't fit 8 devices"):
        config = vqvae_imagenet128.get_config()
        config.mesh.data = 3
        plan.make(config, 8)
    with pytest.raises(ValueError, match="of the parameters are sharded"):
        config = vqvae_imagenet128.get_config()
        config.mesh.update(data=1, fsdp=7)
        plan.make(config, 7)


LARGE = {
    "glide_paper": ({}, 3_554_414_086),
    "dalle2_decoder64": ({"clip": "clip_vit_l14"}, 3_560_341_766),
    "imagen_base64": ({"text": "text_t5_xxl"}, 2_271_733_763),
}
"""Configs of the papers' sizes: parents, and parameters."""


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_other_large_models_are_cut_over_256_devices(name):
    parents, parameters = LARGE[name]
    config = read(name)
    if config.mesh.fsdp == 1:
        config.mesh.update(data=1, fsdp=256)
    made = plan.make(config, 256, {stage: read(file) for stage, file in parents.items()})
    assert made.parameters == parameters
    assert made.coverage > 0.99
    assert made.bytes_per_device("params") < 1.1 * 4 * parameters / 256
