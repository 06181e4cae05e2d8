"""Guides from outside for any diffusion model, one file a kind; `registry` finds them by name."""
