"""What modules are made of: Linen's, with a precision."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp


class Module(nn.Module, kw_only=True):  # type: ignore[call-arg]  # a keyword of Linen
    """A Linen module with a precision. Its own fields come first, and these by name.

    Attributes:
        dtype: of the computation, e.g. "bfloat16"; None for that of the input, or of the parameters where the input is
            tokens.
        param_dtype: of the parameters.
    """

    dtype: Any = None
    param_dtype: Any = jnp.float32

    @property
    def dtypes(self) -> dict[str, Any]:
        """Both, for the layers within."""
        return {"dtype": self.dtype, "param_dtype": self.param_dtype}
