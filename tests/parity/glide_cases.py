"""Small networks of GLIDE's release, and the figures that it gave for them.

`data/glide.npz` holds, for each case, the names and shapes of the official network's state dict (JSON) and its output.
Weights and inputs are drawn by the rules of `guided_diffusion_cases.py`. To make the file anew, with PyTorch 2.13 and a
checkout of github.com/openai/glide-text2im:

    PYTHONPATH=.:PATH/TO/glide-text2im python tests/parity/glide_cases.py
"""

import json
from pathlib import Path

import numpy as np

from tests.parity.guided_diffusion_cases import SHAPE, TIMES, draw

FILE = Path(__file__).parent / "data" / "glide.npz"
VOCAB = 11
LENGTH = 5
TOKENS = np.array([[3, 0, 7, 10, 10], [5, 10, 10, 10, 10]])  # theirs: the last of the vocabulary is padding
MASK = np.array([[1, 1, 1, 0, 0], [0, 0, 0, 0, 0]], bool)  # the second text is empty
OUR_TOKENS = np.array([[3, 10, 7, 0, 0], [0, 0, 0, 0, 0]])  # 0 and the last exchanged
HEADS = 2

# The arguments of the official networks; attention_resolutions are strides there.
_BASE = dict(
    text_ctx=LENGTH, xf_width=32, xf_layers=2, xf_heads=HEADS, xf_final_ln=True, xf_padding=True, in_channels=3,
    out_channels=6, model_channels=32, num_res_blocks=1, channel_mult=(1, 2), attention_resolutions=(2,),
    num_head_channels=16, use_scale_shift_norm=True, resblock_updown=True,
)  # fmt: skip
CASES = {
    "Text2ImUNet": _BASE,
    "SuperResText2ImUNet": _BASE | dict(channel_mult=(1, 1), attention_resolutions=(1, 2)),
    "InpaintText2ImUNet": _BASE,
    "SuperResInpaintText2ImUnet": _BASE | dict(num_res_blocks=2),
}


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Matrices of variance 1 / fan_in, vectors of variance 1/25 around 0, gains of norms around 1; tables normal."""
    if "embedding" in name:
        return draw(name, shape)
    if len(shape) > 1:
        return draw(name, shape) / np.float32(np.sqrt(np.prod(shape[1:])))
    gains = ("in_layers.0.weight", "out_layers.0.weight", "norm.weight", "out.0.weight", "ln_1.weight", "ln_2.weight")
    is_gain = name.endswith((*gains, "final_ln.weight"))
    return draw(name, shape) * np.float32(0.2) + np.float32(is_gain)


def make_images(case: str) -> dict[str, np.ndarray]:
    """What a case is told beside the text, NCHW: what is known and where, and the low-resolution image."""
    b, c, h, w = SHAPE
    told = {}
    if "npaint" in case:
        told["inpaint_image"] = draw("known", SHAPE)
        told["inpaint_mask"] = (draw("mask", (b, 1, h, w)) > 0).astype(np.float32)
    if "SuperRes" in case:
        told["low_res"] = draw("low_res", (b, c, h // 2, w // 2))
    return told


def load(case: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The state dict of a case, and the official output, NHWC."""
    with np.load(FILE) as file:
        shapes = json.loads(str(file[f"{case}/shapes"]))
        state = {name: weight(name, tuple(shape)) for name, shape in shapes.items()}
        return state, file[f"{case}/output"].transpose(0, 2, 3, 1)


def make() -> None:
    """Run the official code and write the file."""
    from types import SimpleNamespace

    import torch
    from glide_text2im import text2im_model

    arrays = {}
    for case, arguments in CASES.items():
        network = getattr(text2im_model, case)(tokenizer=SimpleNamespace(n_vocab=VOCAB), **arguments)
        shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
        network.load_state_dict({name: torch.from_numpy(weight(name, shape)) for name, shape in shapes.items()})
        told = {name: torch.from_numpy(value) for name, value in make_images(case).items()}
        told |= {"tokens": torch.from_numpy(TOKENS), "mask": torch.from_numpy(MASK)}
        with torch.no_grad():
            output = network.eval()(torch.from_numpy(draw("x", SHAPE)), torch.from_numpy(TIMES), **told)
        arrays |= {f"{case}/shapes": json.dumps(shapes), f"{case}/output": output.numpy()}
    np.savez_compressed(FILE, **arrays)


if __name__ == "__main__":
    make()
