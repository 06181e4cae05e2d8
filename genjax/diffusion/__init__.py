"""Diffusion as pure mathematics on jax arrays: no network, no data, no trainer, any rank of data.

    schedules -> levels (grids) -> sample(denoise, sampler, levels, x_T, key)

`denoisers` turns a network and a `parameterization` into a denoiser, `guidance`, `thresholding` and `editing`
turn denoisers into denoisers, `samplers` walk down the levels, `loss`, `weighting` and `time_samplers` train,
`likelihood` measures.
"""
