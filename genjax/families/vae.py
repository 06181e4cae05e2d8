"""Variational autoencoders (Kingma & Welling, arXiv:1312.6114).

One player minimises, with z = mu(x) + exp(logvar(x) / 2) eps,

    -log p(x | z) + beta_t sum_j max(free_bits, KL_j),    KL_j = KL(N(mu_j, exp(logvar_j)) || N(0, 1))

in nats a picture: the negative ELBO at beta = 1 and free_bits = 0 (beta: Higgins et al. 2017; free bits:
arXiv:1606.04934, appendix C.8, on the batch's mean of each KL_j). `beta_t` grows linearly from 0 to beta in the first
`kl_annealing_steps` steps (arXiv:1511.06349). The encoder gives mu and logvar as one vector.

The likelihood of a picture is

    bernoulli              of pixels that are black or white, drawn anew with the grey value's chance at each look
    gaussian               a density, of pixels with uniform noise of their 8-bit bin's width
    discretized_logistic   the probability of the 8-bit pixels themselves

The last two have one scale for all pixels, which is learned with the rest (arXiv:2006.13202) or given. Once
trained the encoder is not needed: sampling reads the decoder's parameters alone, and draws the decoder's mean.

Evaluation draws `iwae_samples` = k latents a picture, a few at a time, and reports for each picture

    elbo_nats, iwae_nats   mean(log w) and log mean(w) of the same k draws (`genjax.losses.elbo`), whatever beta
    bits_per_dim           of elbo_nats
    kl                     in nats, and psnr in dB of decoding mu

Deviations: the paper's Gaussian decoder has a variance for each pixel, and its loss has a weight decay from a prior of
the parameters; the paper doesn't say how MNIST's grey values become binary.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from genjax.core import rng
from genjax.core.numerics import psnr
from genjax.families.base import (
    Conditions,
    Family,
    ImageSampler,
    LossInputs,
    LossOutputs,
    Player,
    Samples,
    Weights,
    read_settings,
    refuse_parents,
)
from genjax.families.base_terms import Term, mean_of, same
from genjax.losses import elbo
from genjax.nn import vector_coders
from genjax.typing import Array, Batch, DataSpec, Float, Image, Key, Params, PerExample

COUPLED = "free bits (config.model.free_bits) are of the mean over the whole batch"
BIN_WIDTH = 2 / 255
"""Of an 8-bit pixel, in [-1, 1]."""
INITIAL_LOG_SCALE = -1.5
DRAWS_AT_ONCE = 10
"""Latents of a picture that are decoded at once in evaluation: bounds the memory, whatever `iwae_samples` is."""


class Settings(NamedTuple):
    """`config.model`: see `configs.autoencoders.vae` for each field."""

    network: Mapping[str, Any]
    likelihood: Mapping[str, Any]
    latent_dim: int
    beta: float = 1.0
    kl_annealing_steps: int = 0
    free_bits: float = 0.0
    iwae_samples: int = 100
    dtype: str = "float32"


class Likelihood(NamedTuple):
    """A distribution of pictures, given the decoder's output.

    Attributes:
        observe: (images, key) -> the pictures in [-1, 1] that it is a distribution of.
        log_prob: (observed, decoder's output, log_scale []) -> log p(x | z) [b] in nats.
        image: decoder's output -> mean picture in [-1, 1].
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


def _dequantize(images: Image, key: Key) -> Image:
    return images + jax.random.uniform(key, images.shape, images.dtype, -BIN_WIDTH / 2, BIN_WIDTH / 2)


def _clip(output: Image) -> Image:
    return jnp.clip(output, -1.0, 1.0)


LIKELIHOODS = {
    "bernoulli": Likelihood(
        observe=_binarize,
        log_prob=lambda x, logits, log_scale: elbo.bernoulli_log_likelihood((x + 1) / 2, logits),
        image=lambda logits: 2 * jax.nn.sigmoid(logits) - 1,
        has_scale=False,
    ),
    "gaussian": Likelihood(_dequantize, elbo.gaussian_log_likelihood, _clip, True, BIN_WIDTH),
    "discretized_logistic": Likelihood(
        lambda images, key: images, elbo.discretized_logistic_log_likelihood, _clip, True
    ),
}


class Model(NamedTuple):
    """The pieces that the settings name, ready to use."""

    settings: Settings
    spec: DataSpec
    encoder: Any
    decoder: Any
    likelihood: Likelihood

    @property
    def learns_scale(self) -> bool:
        """Whether the likelihood's scale is a parameter."""
        return self.likelihood.has_scale and not self.settings.likelihood["scale"]


def build(model: Mapping[str, Any], sampling: Mapping[str, Any], spec: DataSpec, parents: Mapping[str, Any]) -> Family:
    """The family for the settings of a config.

    Args:
        model: fields of `Settings`.
        sampling: nothing that this family reads.
        spec: shape and classes of the data.
        parents: none.

    Raises:
        ValueError: for unknown names, or numbers out of range.
    """
    refuse_parents(parents, "vae")
    pieces = _pieces(read_settings(Settings, model, "config.model of the vae family"), spec)
    sample = partial(sample_images, pieces)
    coupled = COUPLED if pieces.settings.free_bits else ""
    return Family(
        init=partial(init, pieces),
        players=(Player("model", partial(loss_fn, pieces), batch_coupled=coupled),),
        sample=sample,
        evaluate=partial(evaluate, pieces),
        interface=ImageSampler(sample, spec.image_shape, 0),
        logical_axes=tuple(vector_coders.LOGICAL_AXES),
        reconstruct=partial(reconstruct, pieces),
    )


def _pieces(settings: Settings, spec: DataSpec) -> Model:
    name = settings.likelihood["name"]
    if name not in LIKELIHOODS:
        raise ValueError(f"unknown likelihood {name!r}; config.model.likelihood.name is one of {sorted(LIKELIHOODS)}")
    for field in ("latent_dim", "iwae_samples"):
        if getattr(settings, field) < 1:
            raise ValueError(f"config.model.{field} must be at least 1, not {getattr(settings, field)}")
    encoder, decoder = vector_coders.make(settings.network, 2 * settings.latent_dim, spec.image_shape, settings.dtype)
    return Model(settings, spec, encoder, decoder, LIKELIHOODS[name])


def init(model: Model, key: Key, batch: Batch):
    """Fresh parameters of encoder, decoder and, where it is learned, the scale."""
    image = jnp.zeros((1, *batch["image"].shape[1:]))
    params = {
        "encoder": model.encoder.init(rng.stream(key, "encoder"), image)["params"],
        "decoder": model.decoder.init(rng.stream(key, "decoder"), jnp.zeros((1, model.settings.latent_dim)))["params"],
    }
    if model.learns_scale:
        params["log_scale"] = jnp.asarray(INITIAL_LOG_SCALE)
    return {"model": params}, ()


def encode(model: Model, params: Params, x: Image) -> tuple[Float[Array, "b d"], Float[Array, "b d"]]:
    """(mu, logvar) of the posterior of each picture."""
    posterior = model.encoder.apply({"params": params["encoder"]}, x).astype(jnp.float32)
    mu, logvar = jnp.split(posterior, 2, axis=-1)
    return mu, logvar


def _decode(model: Model, params: Params, z: Float[Array, "b d"]) -> Image:
    """The decoder's output: means, or logits."""
    return model.decoder.apply({"params": params["decoder"]}, z).astype(jnp.float32)


def log_likelihood(model: Model, params: Params, x: Image, z: Float[Array, "b d"]) -> PerExample:
    """log p(x | z) in nats, of pictures as the likelihood observes them."""
    if model.learns_scale:
        log_scale = params["log_scale"]
    else:
        log_scale = jnp.log(model.settings.likelihood["scale"] if model.likelihood.has_scale else 1.0)
    return model.likelihood.log_prob(x, _decode(model, params, z), log_scale)


def _draw(mu: Float[Array, "b d"], logvar: Float[Array, "b d"], key: Key) -> Float[Array, "b d"]:
    """z from the posterior, by reparameterization."""
    return mu + jnp.exp(logvar / 2) * jax.random.normal(key, mu.shape)


def loss_fn(model: Model, params: Params, inputs: LossInputs):
    """The objective of a batch, in nats a picture."""
    key, settings = inputs.key, model.settings
    x = model.likelihood.observe(inputs.batch["image"], rng.stream(key, "observe"))
    mu, logvar = encode(model, params, x)
    log_prob = log_likelihood(model, params, x, _draw(mu, logvar, rng.stream(key, "latent")))
    kl = elbo.gaussian_kl_per_dim(mu, logvar)
    beta = settings.beta * elbo.linear_ramp(inputs.step, settings.kl_annealing_steps)
    whole_kl = elbo.sum_flat(kl)
    metrics = {"elbo_nats": mean_of(log_prob - whole_kl), "kl": mean_of(whole_kl), "beta": same(beta)}
    if model.learns_scale:
        metrics["scale"] = same(jnp.exp(params["log_scale"]))
    costs = Term(elbo.free_bits(kl, settings.free_bits), 1) if settings.free_bits else mean_of(whole_kl)
    return LossOutputs({"kl": costs._replace(weight=beta), "reconstruction": mean_of(-log_prob)}, metrics, ())


def log_weights(model: Model, params: Params, x: Image, key: Key) -> Float[Array, "k b"]:
    """log w of `iwae_samples` draws for each observed picture, in nats."""
    mu, logvar = encode(model, params, x)

    def one(key: Key) -> PerExample:
        z = _draw(mu, logvar, key)
        return elbo.gaussian_log_weight(log_likelihood(model, params, x, z), z, mu, logvar)

    keys = jax.random.split(key, model.settings.iwae_samples)
    return jax.lax.map(one, keys, batch_size=min(DRAWS_AT_ONCE, len(keys)))


def evaluate(model: Model, weights: Weights, batch: Batch, key: Key):
    """The bounds of each picture and what it looks like after coding; see the module."""
    params, images = weights.params["model"], batch["image"]
    x = model.likelihood.observe(images, rng.stream(key, "observe"))
    log_w = log_weights(model, params, x, rng.stream(key, "latent"))
    bound = jnp.mean(log_w, axis=0)
    return {
        "elbo_nats": bound,
        "iwae_nats": elbo.iwae_bound(log_w),
        "bits_per_dim": elbo.bits_per_dim(bound, x[0].size, model.likelihood.bin_width),
        "kl": elbo.gaussian_kl(*encode(model, params, x)),
        "psnr": psnr(images, reconstruct(model, weights, images, key)),
    }


def reconstruct(model: Model, weights: Weights, images: Image, key: Key) -> Image:
    """Mean pictures of the latents' means; nothing is drawn."""
    params = weights.params["model"]
    mu, _ = encode(model, params, images)
    return model.likelihood.image(_decode(model, params, mu))


def sample_images(model: Model, weights: Weights, conditions: Conditions, key: Key) -> Samples:
    """Decode draws from the prior, one for each entry of `conditions["index"]`.

    Args:
        model: the family's pieces.
        weights: of whose parameters the decoder's alone are read.
        conditions: "index" int32 [b].
        key: of the whole set of samples.
    """
    keys = rng.of_samples(key, conditions["index"])
    z = jax.vmap(lambda key: jax.random.normal(key, (model.settings.latent_dim,)))(keys)
    return Samples(model.likelihood.image(_decode(model, weights.params["model"], z)))
