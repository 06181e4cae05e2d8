"""Train steps and likelihoods are lowered for TPUs and GPUs, with their kernels of attention, on a CPU."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from genjax import sharding
from genjax.configs import adm_imagenet256, dalle_12b, dalle_shapes, dit_digits
from genjax.configs.recipes import dits
from genjax.data import loader
from genjax.families import registry
from genjax.families.interfaces import Conditions, Samples, Tokenizer, Weights
from genjax.nn.layers import kernels
from genjax.nn.layers.kernels import kernel
from genjax.training import initial, loop
from genjax.training.step import make_train_step
from genjax.typing import DataSpec
from tests.training import replay_test, toy

CALLS = {"tpu": {"tpu_custom_call"}, "cuda": {"__cudnn$fmhaSoftmax", "__cudnn$fmhaSoftmaxBackward"}}
"""What a step with gradients calls: of cuDNN two kernels by name, of Pallas three by one."""
PLATFORMS = {"tpu": "tpu", "cuda": "gpu"}
"""As jax calls what it compiles for -> as it calls its devices."""
BATCH = 2


@pytest.fixture(autouse=True)
def cudnn(monkeypatch):
    """cuDNN, as far as jax asks for its version when it traces."""
    monkeypatch.setattr("jax._src.cudnn.fused_attention_stablehlo.check_cudnn_version", lambda: 91_300)


def dit():
    """(family, config, batch) of a DiT with 256 tokens."""
    config = dit_digits.get_config("tiny")
    config.model.dtype = "bfloat16"
    config.sampling.num_steps = "2"
    config.model.network.update(width=16, depth=1, num_heads=2, patch_size=2)
    return build(config, DataSpec((32, 32, 1), 10))


def dalle(config, size):
    """(family, config, batch) of a DALL-E that is given codes of a grid of some size."""
    tokenizer = Tokenizer(None, None, 8192, ((size, size),), (8 * size, 8 * size, 3))
    text = config.data.tokenizer
    spec = DataSpec((8 * size, 8 * size, 3), has_text=True, text_length=text.length, vocab_size=text.vocab_size)
    codes = {"codes_0": jax.ShapeDtypeStruct((BATCH, size, size), jnp.int32)}
    return build(config, spec, {"tokenizer": tokenizer}, codes)


def build(config, spec, parents=None, batch=None):
    family = registry.build(config.family, config.model.to_dict(), config.sampling.to_dict(), spec, parents or {})
    batch = batch or {"image": jax.ShapeDtypeStruct((BATCH, *spec.image_shape), jnp.float32)}
    if spec.num_classes:
        batch["label"] = jax.ShapeDtypeStruct((BATCH,), jnp.int32)
    if spec.text_length:
        batch["tokens"] = jax.ShapeDtypeStruct((BATCH, spec.text_length), jnp.int32)
    return family, config, batch


def train_step(family, config, batch, platform, name="auto"):
    """(the step, its arguments), for one device of a platform."""
    mesh = sharding.make_mesh(devices=jax.devices()[:1])
    making = initial.making(config, family, mesh, batch)
    step = make_train_step(family, making.optimizers, making.ema)
    frozen = {"tokenizer": Weights({}, (), {})} if "tokens" in batch else {}
    state = jax.eval_shape(lambda state: state, making.shapes)
    return jax.jit(kernel(name, mesh, PLATFORMS[platform])(step)), (state, batch, frozen, jax.random.key(0))


def calls(text: str) -> int:
    """How often splash attention is called: once forward, and once backward."""
    return len(re.findall(r" call @_splash_attention", text))


def scores(text: str, heads: int, length: int) -> list[str]:
    """Types of the float32 arrays [b, heads, length, length]."""
    return re.findall(rf"tensor<{BATCH}x{heads}x{length}x{length}xf32>", text)


@pytest.mark.parametrize("platform", CALLS)
def test_an_exported_train_step_calls_the_kernel(platform):
    checks = [export.DisabledSafetyCheck.custom_call(name) for name in CALLS[platform]]

    def module(name):
        step, arguments = train_step(*dit(), platform, name)
        return export.export(step, platforms=[platform], disabled_checks=checks)(*arguments).mlir_module()

    by_kernel, plain = module("auto"), module("xla")
    assert set(re.findall(r"custom_call @(tpu_custom_call|__cudnn[\w$]+)", by_kernel)) == CALLS[platform]
    assert not scores(by_kernel, 2, 256)
    assert scores(plain, 2, 256) and "cudnn" not in plain and "tpu_custom_call" not in plain


def test_patterns_of_dalle_are_masks_of_splash_attention():
    """Forward and backward in each of three layers, which share programs: their masks are arguments."""
    config = dalle_shapes.get_config("tiny")
    config.model.dtype = "bfloat16"
    step, arguments = train_step(*dalle(config, 16), "tpu")
    text = step.trace(*arguments).lower(lowering_platforms=("tpu",)).as_text()
    assert calls(text) == 2 * 3 and "custom_call @tpu_custom_call" in text
    masks = re.findall(r'dense<"(0x\w+)"> : tensor<\d+x384x384xi1>', text)
    assert len(set(masks)) == 2 * 3, "row, column and conv, and their transposes"
    assert not scores(text, 2, 16 * 16 + config.data.tokenizer.length)


@pytest.mark.parametrize("platform", CALLS)
def test_the_likelihood_is_lowered_with_forward_derivatives(platform):
    """Whatever kernel the evaluation around it may use."""
    family, _, batch = dit()
    params = jax.eval_shape(family.init, jax.random.key(0), batch)[0]
    evaluate = kernel("auto", platform=PLATFORMS[platform])(family.interface.likelihoods["ode"])
    traced = jax.jit(evaluate).trace(Weights(params, (), {}), batch, jax.random.key(0))
    assert scores(traced.lower(lowering_platforms=(platform,)).as_text(), 2, 256)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adm_imagenet256", "dalle_12b", "dit_xl"])
def test_networks_of_papers_never_hold_all_scores_on_a_tpu(name):
    """The train step of ADM-256, DALL-E's 12 billion parameters and DiT-XL/2: heads by length of their attention."""
    if name == "adm_imagenet256":
        case, heads_of, least = (
            build(adm_imagenet256.get_config(), DataSpec((256, 256, 3), 1000)),
            {1024: 8, 256: 16},
            3 * 10,
        )
    elif name == "dalle_12b":
        case, heads_of, least = dalle(dalle_12b.get_config(), 32), {1280: 62}, 3 * 64
    else:
        config = dits.dit("XL", patch_size=2)
        config.model.dtype = "bfloat16"
        case, heads_of, least = build(config, DataSpec((32, 32, 4), 1000)), {256: 16}, 2 * 28
    step, arguments = train_step(*case, "tpu")
    text = step.trace(*arguments).lower(lowering_platforms=("tpu",)).as_text()
    assert calls(text) >= least
    for length, heads in heads_of.items():
        assert not scores(text, heads, length)


@pytest.mark.parametrize(("attention", "beside"), [("splash", "auto"), ("xla", "xla")])
def test_the_field_attention_says_what_a_run_may_use(attention, beside, data_dir, tmp_path):
    """In its step as it says; beside it, in evaluations and grids, only whether it may be a kernel at all."""
    found = {}

    def noting(where, function):
        def noted(*arguments):
            found[where] = kernels.current().name
            return function(*arguments)

        return noted

    family = toy.family()
    (player,) = family.players
    family = family._replace(
        players=(player._replace(loss=noting("step", player.loss)),),
        evaluate=noting("evaluation", family.evaluate),
        interface=family.interface._replace(
            sample=noting("grid", lambda weights, conditions, index, key: Samples(jnp.zeros((len(index), 2, 2, 1))))
        ),
        reconstruct=noting("reconstruction", lambda weights, images, key: images),
    )
    config = replay_test.settings(data_dir)
    config.training.attention = attention
    run = loop.Run(config, family, tmp_path, loader.Data(config.data.to_dict()), sharding.make_mesh(), {})
    weights, images = Weights({"model": {"w": jnp.zeros(3)}}, (), {}), np.zeros((8, 2, 2, 1), np.uint8)
    run.train_step.eval_shape(run.making.shapes, run.example, {}, run.key)
    run.evaluate(weights, [{**jax.device_get(run.example), "mask": np.ones(16, np.float32)}], run.key)
    run.generate(weights, 8, Conditions(), run.key, 8)
    run.reconstruct(weights, images, run.key, 8)
    run.close()
    assert found == {"step": attention, "evaluation": beside, "grid": beside, "reconstruction": beside}
