"""Variational autoencoders (Kingma & Welling, arXiv:1312.6114).

One player minimises, with z = mu(x) + exp(logvar(x) / 2) eps,

    -log p(x | z) + beta_t sum_j max(free_bits, KL_j),    KL_j = KL(N(mu_j, exp(logvar_j)) || N(0, 1))

in nats an image: the negative ELBO at beta = 1 and free_bits = 0 (beta: Higgins et al. 2017; free bits:
arXiv:1606.04934, appendix C.8, on the batch's mean of each KL_j). `beta_t` grows linearly from 0 to beta in the first
`kl_annealing_steps` steps (arXiv:1511.06349). The encoder gives mu and logvar as one vector.

The likelihood of an image is

    bernoulli              of pixels that are black or white, drawn anew with the grey value's chance at each look
    gaussian               a density, of pixels with uniform noise of their 8-bit bin's width
    discretized_logistic   the probability of the 8-bit pixels themselves

The last two have one scale for all pixels, which is learned with the rest (arXiv:2006.13202) or given. Once
trained the encoder is not needed: sampling reads the decoder's parameters alone, and draws the decoder's mean.

Evaluation draws `iwae_samples` = k latents an image, a few at a time, and reports for each image

    elbo_nats, iwae_nats   mean(log w) and log mean(w) of the same k draws (`genjax.losses.elbo`), whatever beta
    bits_per_dim           of elbo_nats
    kl                     in nats, and psnr in dB of decoding mu

Deviations: the paper's Gaussian decoder has a variance for each pixel, and its loss has a weight decay from a prior of
the parameters; the paper doesn't say how MNIST's grey values become binary.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from genjax.core import rng
from genjax.core.images import BIN_WIDTH, dequantize
from genjax.core.numerics import psnr
from genjax.families.base import Family, LossInputs, LossOutputs
from genjax.families.interfaces import Conditions, ImageSampler, Index, Samples, Weights
from genjax.families.shared.assembly import builder, init_coders, one_player
from genjax.families.terms import Term, mean_of, same
from genjax.losses import elbo
from genjax.nn import vector_coders
from genjax.typing import Array, Batch, DataSpec, Float, Image, Key, Params, PerExample

COUPLED = "free bits (config.model.free_bits) are of the mean over the whole batch"
INITIAL_LOG_SCALE = -1.5
DRAWS_AT_ONCE = 10
"""Latents of an image that are decoded at once in evaluation: bounds the memory, whatever `iwae_samples` is."""


class Settings(NamedTuple):
    """`config.model`.

    Attributes:
        network: "name" and fields of the coders, `genjax.nn.vector_coders.make`.
        likelihood: "name", one of `LIKELIHOODS`, and "scale", that of the last two, in [-1, 1]; 0 = learned, one for
            all pixels.
        latent_dim: numbers in z.
        beta: weight of the KL term; 1 = the ELBO.
        kl_annealing_steps: in which that weight grows from 0.
        free_bits: nats of KL that each latent dimension has for nothing.
        iwae_samples: draws from the posterior for each image in evaluation.
        dtype: of the networks' computation; parameters stay float32.
    """

    network: Mapping[str, Any]
    likelihood: Mapping[str, Any]
    latent_dim: int
    beta: float = 1.0
    kl_annealing_steps: int = 0
    free_bits: float = 0.0
    iwae_samples: int = 100
    dtype: str = "float32"


class Likelihood(NamedTuple):
    """A distribution of images, given the decoder's output.

    Attributes:
        observe: (images, key) -> the images in [-1, 1] that it is a distribution of.
        log_prob: (observed, decoder's output, log_scale []) -> log p(x | z) [b] in nats.
        image: decoder's output -> mean image in [-1, 1].
        has_scale: whether `log_scale` matters.
        bin_width: None of a probability; the width of an 8-bit pixel where `log_prob` is a density.
    """

    observe: Callable[[Image, Key], Image]
    log_prob: Callable[[Image, Image, Float[Array, ""]], PerExample]
    image: Callable[[Image], Image]
    has_scale: bool
    bin_width: float | None = None


def _binarize(images: Image, key: Key) -> Image:
    return jnp.where(jax.random.bernoulli(key, (images + 1) / 2), 1.0, -1.0)


def _clip(output: Image) -> Image:
    return jnp.clip(output, -1.0, 1.0)


LIKELIHOODS = {
    "bernoulli": Likelihood(
        observe=_binarize,
        log_prob=lambda x, logits, log_scale: elbo.bernoulli_log_likelihood((x + 1) / 2, logits),
        image=lambda logits: 2 * jax.nn.sigmoid(logits) - 1,
        has_scale=False,
    ),
    "gaussian": Likelihood(dequantize, elbo.gaussian_log_likelihood, _clip, True, BIN_WIDTH),
    "discretized_logistic": Likelihood(
        lambda images, key: images, elbo.discretized_logistic_log_likelihood, _clip, True
    ),
}


class Model(NamedTuple):
    """The networks and functions that the settings name, ready to use."""

    settings: Settings
    spec: DataSpec
    encoder: Any
    decoder: Any
    likelihood: Likelihood

    @property
    def learns_scale(self) -> bool:
        """Whether the likelihood's scale is a parameter."""
        return self.likelihood.has_scale and not self.settings.likelihood["scale"]

    def init(self, key: Key, batch: Batch):
        """Fresh parameters of encoder, decoder and, where it is learned, the scale."""
        image = jnp.zeros((1, *batch["image"].shape[1:]))
        latent = jnp.zeros((1, self.settings.latent_dim))
        params: dict[str, Any] = init_coders(self.encoder, self.decoder, key, image, latent)
        if self.learns_scale:
            params["log_scale"] = jnp.asarray(INITIAL_LOG_SCALE)
        return {"model": params}, ()

    def encode(self, params: Params, x: Image) -> tuple[Float[Array, "b d"], Float[Array, "b d"]]:
        """(mu, logvar) of the posterior of each image."""
        posterior = self.encoder.apply({"params": params["encoder"]}, x).astype(jnp.float32)
        mu, logvar = jnp.split(posterior, 2, axis=-1)
        return mu, logvar

    def _decode(self, params: Params, z: Float[Array, "b d"]) -> Image:
        """The decoder's output: means, or logits."""
        return self.decoder.apply({"params": params["decoder"]}, z).astype(jnp.float32)

    def log_likelihood(self, params: Params, x: Image, z: Float[Array, "b d"]) -> PerExample:
        """log p(x | z) in nats, of images as the likelihood observes them."""
        if self.learns_scale:
            log_scale = params["log_scale"]
        else:
            log_scale = jnp.log(self.settings.likelihood["scale"] if self.likelihood.has_scale else 1.0)
        return self.likelihood.log_prob(x, self._decode(params, z), log_scale)

    def loss_fn(self, params: Params, inputs: LossInputs):
        """The objective of a batch, in nats an image."""
        key, settings = inputs.key, self.settings
        x = self.likelihood.observe(inputs.batch["image"], rng.stream(key, "observe"))
        mu, logvar = self.encode(params, x)
        log_prob = self.log_likelihood(params, x, _draw(mu, logvar, rng.stream(key, "latent")))
        kl = elbo.gaussian_kl_per_dim(mu, logvar)
        beta = settings.beta * elbo.linear_ramp(inputs.step, settings.kl_annealing_steps)
        whole_kl = elbo.sum_flat(kl)
        metrics = {"elbo_nats": mean_of(log_prob - whole_kl), "kl": mean_of(whole_kl), "beta": same(beta)}
        if self.learns_scale:
            metrics["scale"] = same(jnp.exp(params["log_scale"]))
        costs = Term(elbo.free_bits(kl, settings.free_bits), 1) if settings.free_bits else mean_of(whole_kl)
        return LossOutputs({"kl": costs._replace(weight=beta), "reconstruction": mean_of(-log_prob)}, metrics, ())

    def log_weights(self, params: Params, x: Image, key: Key) -> Float[Array, "k b"]:
        """log w of `iwae_samples` draws for each observed image, in nats."""
        mu, logvar = self.encode(params, x)

        def one(key: Key) -> PerExample:
            z = _draw(mu, logvar, key)
            return elbo.gaussian_log_weight(self.log_likelihood(params, x, z), z, mu, logvar)

        keys = jax.random.split(key, self.settings.iwae_samples)
        return jax.lax.map(one, keys, batch_size=min(DRAWS_AT_ONCE, len(keys)))

    def evaluate(self, weights: Weights, batch: Batch, key: Key):
        """The bounds of each image and what it looks like after coding; see the module."""
        params, images = weights.params["model"], batch["image"]
        x = self.likelihood.observe(images, rng.stream(key, "observe"))
        log_w = self.log_weights(params, x, rng.stream(key, "latent"))
        bound = jnp.mean(log_w, axis=0)
        return {
            "elbo_nats": bound,
            "iwae_nats": elbo.iwae_bound(log_w),
            "bits_per_dim": elbo.bits_per_dim(bound, x[0].size, self.likelihood.bin_width),
            "kl": elbo.gaussian_kl(*self.encode(params, x)),
            "psnr": psnr(images, self.reconstruct(weights, images, key)),
        }

    def reconstruct(self, weights: Weights, images: Image, key: Key) -> Image:
        """Mean images of the latents' means; nothing is drawn."""
        params = weights.params["model"]
        mu, _ = self.encode(params, images)
        return self.likelihood.image(self._decode(params, mu))

    def sample_images(self, weights: Weights, conditions: Conditions, index: Index, key: Key) -> Samples:
        """Decode draws from the prior (`SampleFn`); of the weights only the decoder's are read."""
        keys = rng.of_samples(key, index)
        z = jax.vmap(lambda key: jax.random.normal(key, (self.settings.latent_dim,)))(keys)
        return Samples(self.likelihood.image(self._decode(weights.params["model"], z)))


@builder("vae", Settings)
def build(settings: Settings, spec: DataSpec) -> Family:
    """The family for the settings of a config.

    Raises:
        ValueError: for unknown names, or numbers out of range.
    """
    model = make_model(settings, spec)
    interface = ImageSampler(model.sample_images, spec.image_shape, 0)
    coupled = COUPLED if settings.free_bits else ""
    axes = vector_coders.LOGICAL_AXES
    return one_player(model, interface, axes, batch_coupled=coupled, reconstruct=model.reconstruct)


def make_model(settings: Settings, spec: DataSpec) -> Model:
    """The model of these settings."""
    name = settings.likelihood["name"]
    if name not in LIKELIHOODS:
        raise ValueError(f"unknown likelihood {name!r}; config.model.likelihood.name is one of {sorted(LIKELIHOODS)}")
    for field in ("latent_dim", "iwae_samples"):
        if getattr(settings, field) < 1:
            raise ValueError(f"config.model.{field} must be at least 1, not {getattr(settings, field)}")
    encoder, decoder = vector_coders.make(settings.network, 2 * settings.latent_dim, spec.image_shape, settings.dtype)
    return Model(settings, spec, encoder, decoder, LIKELIHOODS[name])


def _draw(mu: Float[Array, "b d"], logvar: Float[Array, "b d"], key: Key) -> Float[Array, "b d"]:
    """z from the posterior, by reparameterization."""
    return mu + jnp.exp(logvar / 2) * jax.random.normal(key, mu.shape)
