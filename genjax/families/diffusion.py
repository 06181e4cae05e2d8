"""Diffusion models: DDPM, Improved DDPM, ADM, and classifier-free guidance, with or without class labels.

Objective and sampling are those of all diffusion models here (`genjax.families.shared.diffusion`). With
`label_dropout` a share of the labels is replaced by the null class, so that one network is both the conditional and
the unconditional model that classifier-free guidance needs (arXiv:2207.12598).

With `low_res` the model upsamples low-resolution images instead of drawing some from nothing
(`genjax.conditioning.low_res`): the network sees the low-resolution image, as large as x_t, in more channels of its
input. With `inpaint` it learns to fill in what is erased. Nothing else differs.

Deviations: ADM's two-file recipe for guidance is here a setting of the same family, not another program; so is
super-resolution.
"""

from genjax.families.shared import diffusion

build = diffusion.builder("diffusion")
