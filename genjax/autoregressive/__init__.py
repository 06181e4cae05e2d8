"""Sequences of tokens, one after the other: one decoder for every network, masks and filters. Pure jax."""
