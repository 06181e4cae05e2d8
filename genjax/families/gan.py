"""Generative adversarial networks: a generator and a discriminator against each other (arXiv:1406.2661).

Each step trains the discriminator, and each `discriminator_steps`-th the generator, which sees what it became:

    discriminator  minimise  mean l_D(D(T(x)), D(T(G(z)))) + penalties
    generator      minimise  mean l_G(D(T(G(z))))

with the pair of losses (l_D, l_G) of `genjax.losses.adversarial` by name, R1 or WGAN-GP as penalty, and the
augmentation T of `genjax.losses.diff_augment`, drawn anew for x and G(z); penalties take the gradient through T.
Networks by name: "mlp" and "maxout" of 2014, "dcgan". z has `latent_dim` numbers, from N(0, 1) or U(-1, 1).

**Batch statistics.** In training both networks normalise by their batch, the discriminator real and generated images
apart, as is usual. Samples must not depend on the batch that they are drawn in, so the generator needs fixed
statistics. Running averages (`extra`) belong to the generator as it was in the last steps; samples are drawn with the
moving average of its *weights*, of which no step has seen the statistics. Hence `standing_passes`: the means over that
many batches of that generator's own features, measured before it draws (standing statistics, Brock et al.,
arXiv:1809.11096, appendix C.1); with 0 the running averages are used, right where no moving average of the weights is
kept. The discriminator keeps none.

`evaluate` watches for overfitting and collapse, with batch statistics as in training and without augmentation:
`accuracy_real` is the share of *held-out* images that the discriminator takes for real; one that knows its training
images by heart takes them for generated. `accuracy_fake`, the logits, and `mode_coverage` in pixels (see
`genjax.losses.coverage`) are of as many new samples.

Deviations: the first GAN's learning rate decays and its momentum grows in time; DCGAN's code has an L2 term of 1e-5.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from genjax.core import rng
from genjax.families.base import Family, LossInputs, LossOutputs
from genjax.families.interfaces import Conditions, ImageSampler, Index, Samples, Weights
from genjax.families.settings import make_named, read_settings
from genjax.families.shared.assembly import builder, two_players
from genjax.families.terms import mean_of, present
from genjax.losses import adversarial, diff_augment
from genjax.losses.coverage import mode_coverage
from genjax.nn import dcgan, maxout
from genjax.typing import Array, Batch, Bool, DataSpec, Float, Image, Key, Params, PerExample, PyTree

GENERATORS = {"mlp": maxout.Generator, "dcgan": dcgan.Generator}
DISCRIMINATORS = {"maxout": maxout.Discriminator, "dcgan": dcgan.Discriminator}
NOISES = {
    "normal": jax.random.normal,
    "uniform": lambda key, shape: jax.random.uniform(key, shape, minval=-1.0, maxval=1.0),
}


class R1(NamedTuple):
    """`config.model.r1`.

    Attributes:
        gamma: of the penalty gamma / 2 |grad D|^2; 0 = off.
        interval: on every how many steps of the discriminator it is applied, then as many times as strong.
    """

    gamma: float = 0.0
    interval: int = 1


class Settings(NamedTuple):
    """`config.model`.

    Attributes:
        generator, discriminator: "name", one of `GENERATORS` and `DISCRIMINATORS`, and fields of its module.
        loss: a name of `genjax.losses.adversarial`.
        latent_dim: numbers in z.
        r1: fields of `R1`.
        augment: of images in both losses, arguments of `genjax.losses.diff_augment.make`.
        noise: what z is drawn from, one of `NOISES`: N(0, 1) or U(-1, 1).
        discriminator_steps: steps of the discriminator to each of the generator.
        gradient_penalty: weight of WGAN-GP's penalty, 10 in its paper; 0 = off.
        dtype: of the networks' computation; parameters stay float32.
    """

    generator: Mapping[str, Any]
    discriminator: Mapping[str, Any]
    loss: str
    latent_dim: int
    r1: Mapping[str, Any]
    augment: Mapping[str, Any]
    noise: str = "normal"
    discriminator_steps: int = 1
    gradient_penalty: float = 0.0
    dtype: str = "float32"


class Sampling(NamedTuple):
    """`config.sampling`.

    Attributes:
        batch_size: images sampled at once, over all devices.
        standing_passes: batches to measure batch norm's statistics on before drawing; 0 = running averages.
        standing_batch: images in each of them.
    """

    batch_size: int = 64
    standing_passes: int = 16
    standing_batch: int = 128


class Model(NamedTuple):
    """The networks and functions that the settings name, ready to use."""

    settings: Settings
    sampling: Sampling
    spec: DataSpec
    generator: Any
    discriminator: Any
    loss: adversarial.AdversarialLoss
    augment: diff_augment.Augment
    r1: R1

    def _has_batch_norm(self) -> bool:
        return isinstance(self.generator, dcgan.Generator) or getattr(self.discriminator, "norm", "none") == "batch"

    def init(self, key: Key, batch: Batch):
        """Fresh parameters of both players, and the generator's running statistics."""
        image = jnp.zeros((1, *batch["image"].shape[1:]))
        generator = self.generator.init(rng.stream(key, "generator"), jnp.zeros((1, self.settings.latent_dim)))
        discriminator = self.discriminator.init(rng.stream(key, "discriminator"), image)
        params = {"generator": generator["params"], "discriminator": discriminator["params"]}
        return params, generator.get("batch_stats", {})

    def _generate(
        self, params: Params, stats: PyTree, z: Float[Array, "b d"], **among: Bool[Array, " b"]
    ) -> tuple[Image, PyTree]:
        """(images normalised by their batch's statistics, the running statistics after it); `among`: see `_among`."""
        variables = {"params": params, "batch_stats": stats}
        images, updated = self.generator.apply(variables, z, train=True, mutable=["batch_stats"], **among)
        return images, updated.get("batch_stats", {})

    def discriminator_logits(
        self, params: Params, images: Image, key: Key | None, **among: Bool[Array, " b"]
    ) -> PerExample:
        """Logits of images; if a key is given, augmented and with dropout. `among`: see `_among`."""
        if key is None:
            return self.discriminator.apply({"params": params}, images, **among)
        images, rngs = self.augment(images, rng.stream(key, "augment")), {"dropout": rng.stream(key, "dropout")}
        return self.discriminator.apply({"params": params}, images, train=True, rngs=rngs)

    def _noise(self, key: Key, count: int) -> Float[Array, "b d"]:
        return NOISES[self.settings.noise](key, (count, self.settings.latent_dim))

    def discriminator_loss(self, params: Params, inputs: LossInputs):
        """Mean loss of the discriminator with its penalties; metrics: `accuracy_*`, `*_logits`, `penalty`."""
        key, real = inputs.key, inputs.batch["image"]
        z = self._noise(rng.stream(key, "noise"), real.shape[0])
        fake, _ = self._generate(inputs.others["generator"], inputs.extra, z)
        critic_real = partial(self.discriminator_logits, params, key=rng.stream(key, "real"))
        real_logits, fake_logits = critic_real(real), self.discriminator_logits(params, fake, rng.stream(key, "fake"))
        terms = {
            "loss": mean_of(self.loss.discriminator(real_logits, fake_logits)),
            "penalty": mean_of(self._penalty(critic_real, real, fake, inputs)),
        }
        metrics = {
            name: mean_of(value) for name, value in adversarial.watch(self.loss, real_logits, fake_logits).items()
        }
        return LossOutputs(terms, metrics | {"penalty": terms["penalty"]}, inputs.extra)

    def _penalty(self, critic: adversarial.Critic, real: Image, fake: Image, inputs: LossInputs) -> PerExample:
        """The penalties of the settings, of each example."""
        total = jnp.zeros(real.shape[0])
        if self.settings.gradient_penalty:
            place = rng.stream(inputs.key, "penalty")
            total += adversarial.gradient_penalty(critic, real, fake, place, self.settings.gradient_penalty)
        if self.r1.gamma:
            total += adversarial.lazy_r1(critic, real, self.r1.gamma, self.r1.interval, inputs.step)
        return total

    def generator_loss(self, params: Params, inputs: LossInputs):
        """Mean loss of the generator; its running statistics move."""
        z = self._noise(rng.stream(inputs.key, "noise"), inputs.batch["image"].shape[0])
        fake, stats = self._generate(params, inputs.extra, z)
        logits = self.discriminator_logits(inputs.others["discriminator"], fake, rng.stream(inputs.key, "fake"))
        return LossOutputs({"loss": mean_of(self.loss.generator(logits))}, {"fake_logits": mean_of(logits)}, stats)

    def evaluate(self, weights: Weights, batch: Batch, key: Key):
        """The discriminator on held-out and on generated images, and coverage of the former by the latter."""
        real, there = batch["image"], present(batch)
        z, among = self._noise(key, real.shape[0]), _among(self.generator, there)
        fake, _ = self._generate(weights.params["generator"], weights.extra, z, **among)
        params, among = weights.params["discriminator"], _among(self.discriminator, there)

        def critic(images: Image) -> PerExample:
            return self.discriminator_logits(params, images, None, **among)

        coverage = mode_coverage(real, fake, present=there)
        return {**adversarial.watch(self.loss, critic(real), critic(fake)), "mode_coverage": coverage}

    def sample_images(self, weights: Weights, conditions: Conditions, index: Index, key: Key) -> Samples:
        """Draw images (`SampleFn`); the key is also of the noise that standing statistics are measured with."""
        keys = rng.of_samples(key, index)
        z = jax.vmap(lambda key: self._noise(key, 1)[0])(keys)
        stats = self.standing_statistics(weights, rng.stream(key, "standing"))
        variables = {"params": weights.params["generator"], "batch_stats": stats}
        return Samples(self.generator.apply(variables, z))

    def standing_statistics(self, weights: Weights, key: Key) -> PyTree:
        """Batch norm's statistics for these very weights: the mean of those of several batches (arXiv:1809.11096, C.1).

        Args:
            weights: of the generator.
            key: of the batches' noise.
        """
        if not (weights.extra and self.sampling.standing_passes):
            return weights.extra
        forgetful = self._replace(generator=self.generator.clone(momentum=0.0))

        def measure(key):
            z = self._noise(key, self.sampling.standing_batch)
            return forgetful._generate(weights.params["generator"], weights.extra, z)[1]

        stats = jax.lax.map(measure, jax.random.split(key, self.sampling.standing_passes))
        return jax.tree.map(lambda values: jnp.mean(values, axis=0), stats)


@builder("gan", Settings, Sampling)
def build(settings: Settings, sampling: Sampling, spec: DataSpec) -> Family:
    """The family for the settings of a config.

    Raises:
        ValueError: for unknown names, numbers out of range, or a penalty on a discriminator with batch norm.
    """
    if settings.noise not in NOISES:
        raise ValueError(f"unknown noise {settings.noise!r}; config.model.noise is one of {sorted(NOISES)}")
    made_for = {"image_shape": spec.image_shape, "dtype": settings.dtype}
    generator = make_named("generator", GENERATORS, settings.generator, "config.model.generator", **made_for)
    where = "config.model.discriminator"
    discriminator = make_named("discriminator", DISCRIMINATORS, settings.discriminator, where, dtype=settings.dtype)
    model = Model(
        settings=settings,
        sampling=sampling,
        spec=spec,
        generator=generator,
        discriminator=discriminator,
        loss=adversarial.make(settings.loss),
        augment=diff_augment.make(**settings.augment),
        r1=read_settings(R1, settings.r1, "config.model.r1 of the gan family"),
    )
    if (settings.gradient_penalty or model.r1.gamma) and getattr(model.discriminator, "norm", "none") == "batch":
        raise ValueError(
            "a penalty on the discriminator's gradient holds for each image by itself, and batch norm mixes them; "
            "set config.model.discriminator.norm to 'layer' or 'none'"
        )
    coupled = "batch norm normalises by the statistics of the whole batch" if model._has_batch_norm() else ""
    interface = ImageSampler(model.sample_images, spec.image_shape, 0)
    axes = (*dcgan.LOGICAL_AXES, *maxout.LOGICAL_AXES)
    return two_players(model, settings.discriminator_steps, interface, axes, batch_coupled=coupled)


def _among(network: Any, there: Bool[Array, " b"]) -> dict[str, Bool[Array, " b"]]:
    """The argument of a network with batch statistics that says which examples they are of."""
    return {"present": there} if isinstance(network, (dcgan.Generator, dcgan.Discriminator)) else {}
