"""Not finite is an error with a cause: a player's loss, gradient or parameters, or the batch before all of them."""


class NotFiniteError(ValueError):
    """A loss, a gradient or a parameter became NaN or infinite."""
