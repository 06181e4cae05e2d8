"""BigGAN: class-conditional GANs at scale (arXiv:1809.11096), and for small data.

Two players, discriminator first, with the losses of `genjax.losses.adversarial` (hinge in the paper):

    discriminator:  E l_D(D(T(x), y), D(T(G(z, y')), y')) + R1 where requested
    generator:      E l_G(D(T(G(z, y')), y')) + beta * |W^T W * (1 - I)|^2 over G's weights, the shared embedding apart

with z ~ N(0, I), y' drawn evenly from all classes, and T a differentiable augmentation (arXiv:2006.10738), none by
default. The generator is trained on every n-th step only. `extra` holds each network's spectral vectors and the
generator's batch statistics; every training pass of a network renews them, also in the other player's step.

**Sampling** draws with the moving averages of the weights, for which no batch statistics were ever gathered. So it
first makes `standing_passes` training passes of `standing_batch` images with fixed noise and averages their
statistics (section 4.2), while the spectral vectors settle on these weights. The result depends on the weights and the
truncation alone: no image depends on the batch that it is drawn in. These passes are made in each call, so draw large
batches; with `standing_passes` 0 the running statistics of training are used, which lag behind.

**Truncation** (section 3.1) at threshold tau: each entry of z follows N(0, 1) given that it is within [-tau, tau],

    z = sqrt(2) erfinv(u erf(tau / sqrt(2))),    u ~ U(-1, 1)

which has the distribution that the paper draws by resampling; an image moves with tau, and tau is traced. Standing
statistics are of the same truncation.

Evaluation, on held-out images: how often the discriminator tells them and images generated for the same labels
apart (`accuracy_real` on training data well above `eval/accuracy_real`: it knows the training images by heart), and
which of them generated ones cover (`genjax.losses.coverage`).

Deviations: moving averages warm up (config.training.ema) instead of starting at step 20,000. The discriminator's
moving average, which evaluation uses, isn't in the paper.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from genjax.core import rng
from genjax.families.base import Family, LossInputs, LossOutputs
from genjax.families.interfaces import Conditions, ImageSampler, Index, Samples, Weights
from genjax.families.settings import expect_labels
from genjax.families.shared.assembly import builder, two_players
from genjax.families.terms import mean_of, present, same
from genjax.losses import adversarial, diff_augment
from genjax.losses.coverage import mode_coverage
from genjax.losses.orthogonal import orthogonal
from genjax.nn import biggan as networks
from genjax.nn.layers import conditional_norm, spectral_norm
from genjax.typing import Array, Batch, DataSpec, Float, Image, Key, Labels, Params, PerExample, PyTree

STATE = [conditional_norm.COLLECTION, spectral_norm.COLLECTION]
"""Flax collections of a network beside its parameters."""
NO_TRUNCATION = 0.0
COUPLED = "batch norm normalises by the statistics of the whole batch, and spectral norms are estimated once a batch"


class Settings(NamedTuple):
    """`config.model`.

    Attributes:
        generator, discriminator: fields of the modules of `genjax.nn.biggan`.
        loss: a name of `genjax.losses.adversarial`.
        discriminator_steps: the generator is trained on every so many-th step.
        orthogonal: beta of the generator's orthogonal regularisation; 0 = off.
        r1: gamma of the penalty on the discriminator's gradient at real images; 0 = off.
        augment: of what the discriminator sees, arguments of `genjax.losses.diff_augment.make`.
        dtype: of the networks' computation; parameters stay float32.
    """

    generator: Mapping[str, Any]
    discriminator: Mapping[str, Any]
    loss: str = "hinge"
    discriminator_steps: int = 1
    orthogonal: float = 0.0
    r1: float = 0.0
    augment: Mapping[str, Any] = {}
    dtype: str = "float32"


class Sampling(NamedTuple):
    """`config.sampling`.

    Attributes:
        truncation: threshold of the latents' entries; 0 = none.
        standing_passes: training passes that gather statistics for sampling; 0 = those of training.
        standing_batch: images in each.
        batch_size: images sampled at once, over all devices.
    """

    truncation: float = NO_TRUNCATION
    standing_passes: int = 16
    standing_batch: int = 64
    batch_size: int = 64


class Model(NamedTuple):
    """The networks and functions that the settings name, ready to use."""

    settings: Settings
    sampling: Sampling
    num_classes: int
    generator: networks.Generator
    discriminator: networks.Discriminator
    loss: adversarial.AdversarialLoss
    augment: diff_augment.Augment

    def init(self, key: Key, batch: Batch):
        """Fresh parameters; in `extra`, the spectral vectors of both and the generator's batch statistics."""
        label = jnp.zeros((1,), jnp.int32)
        z = jnp.zeros((1, self.generator.z_dim))
        image = jnp.zeros((1, *batch["image"].shape[1:]))
        states = {
            "generator": dict(self.generator.init(rng.stream(key, "generator"), z, label)),
            "discriminator": dict(self.discriminator.init(rng.stream(key, "discriminator"), image, label)),
        }
        return {name: state.pop("params") for name, state in states.items()}, states

    def _generate(self, params: Params, state: PyTree, z, label: Labels, momentum=0.1) -> tuple[Image, PyTree]:
        """A training pass of the generator: (images, its new state)."""
        variables = {"params": params, **state}
        return self.generator.apply(variables, z, label, train=True, momentum=momentum, mutable=STATE)

    def _fakes(self, params: Params, state: PyTree, count: int, key: Key) -> tuple[Image, Labels, PyTree]:
        """A training pass for noise and labels drawn here: (images, labels, the generator's new state)."""
        z = latents(rng.stream(key, "z"), (count, self.generator.z_dim))
        label = jax.random.randint(rng.stream(key, "label"), (count,), 0, self.num_classes)
        images, state = self._generate(params, state, z, label)
        return images, label, state

    def discriminator_logits(
        self, params: Params, state: PyTree, images: Image, label: Labels
    ) -> tuple[PerExample, PyTree]:
        """A training pass of the discriminator: (logits, its new state)."""
        return self.discriminator.apply({"params": params, **state}, images, label, train=True, mutable=STATE)

    def discriminator_loss(self, params: Params, inputs: LossInputs):
        """Mean loss of telling the batch from as many generated images; both go through one pass."""
        real, key = inputs.batch["image"], inputs.key
        fake, requested, generator = self._fakes(
            inputs.others["generator"], inputs.extra["generator"], real.shape[0], rng.stream(key, "fakes")
        )
        seen = self.augment(jnp.concatenate([real, fake.astype(real.dtype)]), rng.stream(key, "augment"))
        label = jnp.concatenate([inputs.batch["label"], requested.astype(inputs.batch["label"].dtype)])
        logits, discriminator = self.discriminator_logits(params, inputs.extra["discriminator"], seen, label)
        real_logits, fake_logits = jnp.split(logits, 2)
        terms = {"loss": mean_of(self.loss.discriminator(real_logits, fake_logits))}
        metrics = adversarial.watch(self.loss, real_logits, fake_logits)
        if self.settings.r1:
            metrics["r1"] = self._r1(params, discriminator, seen[: real.shape[0]], inputs.batch["label"])
            terms["r1"] = mean_of(metrics["r1"])
        extra = {"generator": generator, "discriminator": discriminator}
        return LossOutputs(terms, {name: mean_of(value) for name, value in metrics.items()}, extra)

    def _r1(self, params: Params, state: PyTree, real: Image, label: Labels) -> PerExample:
        """The penalty on the gradient by real images as the discriminator sees them, augmented."""

        def critic(images):
            return self.discriminator.apply({"params": params, **state}, images, label)

        return adversarial.r1(critic, real, self.settings.r1)

    def generator_loss(self, params: Params, inputs: LossInputs):
        """Mean loss of passing for real, as many images as the batch has, and orthogonal regularisation."""
        key, count = inputs.key, inputs.batch["image"].shape[0]
        fake, requested, generator = self._fakes(params, inputs.extra["generator"], count, rng.stream(key, "fakes"))
        seen = self.augment(fake, rng.stream(key, "augment"))
        logits, discriminator = self.discriminator_logits(
            inputs.others["discriminator"], inputs.extra["discriminator"], seen, requested
        )
        terms, metrics = {"loss": mean_of(self.loss.generator(logits))}, {"fake_logits": mean_of(logits)}
        if self.settings.orthogonal:
            metrics["orthogonal"] = same(orthogonal(params, excluded="^shared/"))
            terms["orthogonal"] = metrics["orthogonal"]._replace(weight=self.settings.orthogonal)
        return LossOutputs(terms, metrics, {"generator": generator, "discriminator": discriminator})

    def standing_state(self, weights: Weights, truncation: float | Float[Array, ""] | None = None) -> PyTree:
        """The generator's state with standing statistics; see the module.

        Args:
            weights: whose statistics to gather.
            truncation: of the latents.
        """
        passes, count = self.sampling.standing_passes, self.sampling.standing_batch
        params, state = weights.params["generator"], weights.extra["generator"]
        if not passes:
            return state
        keys = jax.random.split(jax.random.key(0), passes)

        def one_pass(state, step):
            index, key = step
            z = latents(rng.stream(key, "z"), (count, self.generator.z_dim), truncation)
            label = jax.random.randint(rng.stream(key, "label"), (count,), 0, self.num_classes)
            return self._generate(params, state, z, label, momentum=1.0 / (1.0 + index))[1], None

        return jax.lax.scan(one_pass, state, (jnp.arange(passes), keys))[0]

    def sample_images(self, weights: Weights, conditions: Conditions, index: Index, key: Key) -> Samples:
        """Draw images (`SampleFn`); the option "truncation" is the threshold of the latents (absent or 0: none)."""
        truncation = conditions.options.get("truncation")
        keys = rng.of_samples(key, index)
        z = jax.vmap(lambda key: latents(key, (self.generator.z_dim,), truncation))(keys)
        variables = {"params": weights.params["generator"], **self.standing_state(weights, truncation)}
        return Samples(self.generator.apply(variables, z, conditions.label))

    def evaluate(self, weights: Weights, batch: Batch, key: Key):
        """The discriminator's accuracy and logits, and the batch's coverage by as many images of its labels."""
        real, label = batch["image"], batch["label"]
        fake = self.sample_images(weights, Conditions(label=label), jnp.arange(real.shape[0]), key).images
        variables = {"params": weights.params["discriminator"], **weights.extra["discriminator"]}
        real_logits, fake_logits = (self.discriminator.apply(variables, images, label) for images in (real, fake))
        coverage = mode_coverage(real, fake, present=present(batch))
        return {**adversarial.watch(self.loss, real_logits, fake_logits), "mode_coverage": coverage}


@builder("biggan", Settings, Sampling)
def build(settings: Settings, sampling: Sampling, spec: DataSpec) -> Family:
    """The family for the settings of a config.

    Raises:
        ValueError: for unlabelled data, unknown names, or networks of another image size than the data's.
    """
    expect_labels(spec, "biggan")
    shared = {"num_classes": spec.num_classes, "dtype": settings.dtype}
    generator = networks.Generator(out_channels=spec.image_shape[-1], **shared, **settings.generator)
    generator.check()
    if spec.image_shape[:2] != (generator.image_size,) * 2:
        raise ValueError(
            f"config.model.generator draws images of {generator.image_size}x{generator.image_size}: "
            f"bottom_size, doubled once for each entry of channel_mult after the first; the data's are "
            f"{spec.image_shape[0]}x{spec.image_shape[1]}"
        )
    model = Model(
        settings=settings,
        sampling=sampling,
        num_classes=spec.num_classes,
        generator=generator,
        discriminator=networks.Discriminator(**shared, **settings.discriminator),
        loss=adversarial.make(settings.loss),
        augment=diff_augment.make(**settings.augment),
    )
    interface = ImageSampler(model.sample_images, spec.image_shape, spec.num_classes, {"truncation": NO_TRUNCATION})
    axes = networks.LOGICAL_AXES
    return two_players(model, settings.discriminator_steps, interface, axes, batch_coupled=COUPLED)


def latents(
    key: Key, shape: tuple[int, ...], truncation: float | Float[Array, ""] | None = None
) -> Float[Array, "..."]:
    """Entries of N(0, 1), or of N(0, 1) within +-truncation; see the module.

    Args:
        key: without truncation the numbers are those of `jax.random.normal`.
        shape: of the result.
        truncation: the threshold; 0 or None = none.
    """
    u = jax.random.uniform(key, shape, minval=jnp.nextafter(jnp.float32(-1), jnp.float32(0)), maxval=1.0)
    if truncation is not None:
        u = u * jnp.where(truncation > 0, jax.lax.erf(truncation * jnp.sqrt(0.5)), 1.0)
    return jnp.sqrt(2.0).astype(u.dtype) * jax.lax.erf_inv(u)
