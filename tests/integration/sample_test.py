"""What `sample.py` writes."""

import jax
import numpy as np
from PIL import Image

from genjax import stages
from genjax.pipelines import sampling as sampling_lib


def test_files_labels_and_independence_of_the_batch(programs, trained):
    programs.run("sample", f"--workdir={trained}", "--num_samples=30", "--trajectory", "--seed=3")
    with np.load(trained / "samples" / "samples.npz") as file:
        images, labels = file["arr_0"], file["arr_1"]
    assert images.shape == (30, 8, 8, 1) and images.dtype == np.uint8 and images.std() > 0
    np.testing.assert_array_equal(np.bincount(labels), [3] * 10)
    assert Image.open(trained / "samples" / "samples.png").mode == "RGB"
    frames = Image.open(trained / "samples" / "trajectory.gif").n_frames
    assert 2 <= frames <= 5, "one a step; equal neighbours are merged"

    # One device draws 20 and 10; the eight of this process 24 and 2.
    fewer = sampling_lib.draw(stages.load(trained), 26, seed=3).images
    assert len(jax.devices()) == 8
    assert np.abs(fewer.astype(int) - images[:26]).max() <= 1, "an image depends on seed and index alone"


def test_inpainting_an_image_with_a_label_guidance_sampler_and_steps(programs, trained, tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8)
    mask = np.zeros((8, 8), np.uint8)
    mask[:5] = 255
    for name, pixels in {"image": image, "mask": mask}.items():
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    edit = f"--inpaint={tmp_path / 'image.png'}:{tmp_path / 'mask.png'}"
    how = ("--num_samples=3", "--label=7", "--guidance_scale=3.5", "--sampler=ddim", "--num_steps=ddim10")
    programs.run("sample", f"--workdir={trained}", *how, edit, f"--out={tmp_path}")
    with np.load(tmp_path / "samples.npz") as file:
        assert (file["arr_1"] == 7).all() and file["arr_0"].shape == (3, 8, 8, 1)
        images = file["arr_0"][..., 0]
    assert not (tmp_path / "trajectory.gif").exists()
    np.testing.assert_array_equal(images[:, :5], np.broadcast_to(image[:5], (3, 5, 8)))
    assert (images[:, 5:] != image[5:]).any()
