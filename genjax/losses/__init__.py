"""Floor 1: losses as pure functions of arrays, one number an example; families reduce them."""
