"""ADM's classifier of noisy images: the downward half of its U-Net, pooled by attention (arXiv:2105.05233).

    conv - [res blocks (+ attention), down] for each level - res, attention, res - norm, SiLU - attention pool

"We use the downsampling trunk of the U-Net with an attention pool at the 8x8 layer to produce the final output"
(section 4). The released classifiers have `width` 128, `head_channels` 64, attention at 32, 16 and 8 pixels,
`adaptive_norm` and `resblock_updown`; 4 residual blocks a level for 64 pixels, 2 for larger images.

The pool has a vector for each position, so one set of weights takes images of one size only. Unlike the U-Net's,
the last layer doesn't start at zero: fresh logits are small, not 0. Deviation: of the release's pools only
"attention", that of its checkpoints, is here.
"""

import flax.linen as nn

from genjax.nn import unet_trunk
from genjax.nn.layers.attention import AttentionPool
from genjax.nn.unet_trunk import INITIALIZERS, Trunk
from genjax.typing import Array, Float

LOGICAL_AXES = unet_trunk.LOGICAL_AXES


class EncoderUNet(Trunk):
    """(noisy image, time) -> vector, such as logits of classes; see the module.

    Attributes:
        others: see `Trunk`; `out_channels` is the number of classes, and the pool has the heads of the lowest
            level.
    """

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], t: Float[Array, " b"], *, train: bool = False
    ) -> Float[Array, "b k"]:
        """Apply the network.

        Args:
            x: noisy images x_t.
            t: time of each, in the schedule's own unit (steps for discrete schedules).
            train: dropout on; needs the random stream "dropout".

        Raises:
            ValueError: for sizes that the strides don't divide, an `attention_resolutions` entry that no
                level has, or an unknown variant.
        """
        self._check(x)
        embedding = self._embed_time(t)
        h = self._middle(self._way_down(x, embedding, train)[-1], embedding, train)
        h = self._norm_out(h, x.dtype)
        pool = AttentionPool(
            self.out_channels,
            self._num_heads(h.shape[-1]),
            INITIALIZERS[self.variant],
            dtype=x.dtype,
            param_dtype=self.param_dtype,
            name="pool",
        )
        return pool(h)
