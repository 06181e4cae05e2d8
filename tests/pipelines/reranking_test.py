"""Best of several: the image that the ranker finds closest to its own prompt is kept, and what is refused."""

from types import SimpleNamespace

import numpy as np
import pytest

from genjax.families.interfaces import ImageSampler, ImageTextEncoder, TextEncoder
from genjax.generate import Drawn
from genjax.pipelines import embedding as clip
from genjax.pipelines import reranking, vqvae
from genjax.pipelines import sampling as sampling_lib
from genjax.stages import Stage


def stage(interface):
    return Stage(SimpleNamespace(interface=interface), None, SimpleNamespace(family="vae"), None, 0)


GENERATOR = stage(ImageSampler(None, (4, 4, 3), 0))
JUDGE = stage(ImageTextEncoder(lambda *_: None, None, None, TextEncoder(*[None] * 5), (), 0))


@pytest.fixture
def drawn(monkeypatch):
    """Image i is of brightness i; the ranker likes those best that are near a brightness which their prompt names."""
    calls = []

    def draw(stage, count, *, prompts, **settings):
        calls.append((count, prompts, settings))
        shades = np.arange(count, dtype=np.uint8)[:, None, None, None]
        ends = np.broadcast_to(shades, (count, 2, 2, 3))
        return Drawn(ends, None, np.stack([ends + 100, ends]), tuple(prompts))

    def similarity(ranker, batch_of_images, texts):
        return -np.abs(batch_of_images[:, 0, 0, 0].astype(float) - np.array([float(text) for text in texts]))

    monkeypatch.setattr(sampling_lib, "draw", draw)
    monkeypatch.setattr(clip, "similarity", similarity)
    return calls


def test_the_closest_of_each_prompt_is_kept(drawn):
    best = reranking.draw_best(GENERATOR, JUDGE, ["2", "99", "0"], 4, seed=3)
    np.testing.assert_array_equal(best.images[:, 0, 0, 0], [2, 7, 8])
    assert best.prompts == ("2", "99", "0")
    np.testing.assert_array_equal(best.trajectory, np.stack([best.images + 100, best.images]), "[steps, images, ...]")
    assert drawn == [(12, ["2"] * 4 + ["99"] * 4 + ["0"] * 4, {"seed": 3})]


def test_a_command_line_is_read():
    assert reranking.parse("runs/a:b/clip:8") == ("runs/a:b/clip", 8)
    for wrong in ("runs/clip", ":8", "runs/clip:0", "runs/clip:many"):
        with pytest.raises(ValueError, match="write WORKDIR:N"):
            reranking.parse(wrong)


def test_refuses():
    with pytest.raises(ValueError, match="a run of the family 'vae' is none"):
        reranking.draw_best(GENERATOR, GENERATOR, ["a"], 2)
    with pytest.raises(ValueError, match="candidates=0"):
        reranking.draw_best(GENERATOR, JUDGE, ["a"], 0)
    with pytest.raises(ValueError, match="2 images need as many prompts, not 1"):
        vqvae.complete(GENERATOR, np.zeros((2, 4, 4, 3), np.uint8), prompts=["a"], rows=2)
