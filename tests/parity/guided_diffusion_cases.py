"""Small networks of the official release, and the figures that it gave for them.

`data/guided_diffusion.npz` holds, for each case, the names and shapes of the official network's state dict
(JSON) and its output; `data/guided_diffusion_classifiers.npz` those of its classifiers, whose output is logits, and
the gradient of the summed log-probability of `LABELS` by the image, as guidance takes it. Weights and inputs needn't
be stored: both sides draw them by the rules below, from NumPy's `RandomState`, whose streams are frozen. To make the
files anew, with PyTorch 2.13 and a checkout of github.com/openai/guided-diffusion:

    PYTHONPATH=.:PATH/TO/guided-diffusion python tests/parity/guided_diffusion_cases.py
"""

import json
import zlib
from pathlib import Path

import numpy as np

FILE = Path(__file__).parent / "data" / "guided_diffusion.npz"
CLASSIFIERS_FILE = Path(__file__).parent / "data" / "guided_diffusion_classifiers.npz"
NUM_CLASSES = 5
SHAPE = (2, 3, 8, 12)  # NCHW
SQUARE = (2, 3, 8, 8)
TIMES = np.array([3.0, 741.5], np.float32)
LABELS = np.array([4, 1])

# The arguments of the official UNetModel; attention_resolutions are strides there.
_BASE = dict(
    in_channels=3,
    out_channels=6,
    model_channels=32,
    num_res_blocks=1,
    channel_mult=(1, 2),
    attention_resolutions=(2,),
    image_size=8,
)
CASES = {
    "iddpm": _BASE | dict(num_heads=4, use_scale_shift_norm=True, num_res_blocks=2),
    "iddpm_lsun": _BASE | dict(num_heads=1, out_channels=3),
    "adm_64": _BASE
    | dict(
        num_head_channels=16,
        use_scale_shift_norm=True,
        resblock_updown=True,
        use_new_attention_order=True,
        num_classes=NUM_CLASSES,
    ),
    "adm_128": _BASE | dict(num_heads=4, use_scale_shift_norm=True, resblock_updown=True, num_classes=NUM_CLASSES),
    "adm_512": _BASE
    | dict(
        num_head_channels=32,
        use_scale_shift_norm=True,
        resblock_updown=True,
        num_classes=NUM_CLASSES,
        model_channels=64,
        channel_mult=(0.5, 1, 1),
        attention_resolutions=(2, 4),
    ),
    "updown_without_adaptive_norm": _BASE | dict(num_heads=2, resblock_updown=True),
    "new_order_without_updown": _BASE | dict(num_heads=2, use_new_attention_order=True),
}
# The arguments of the official EncoderUNetModel.
_HALF = dict(image_size=8, in_channels=3, out_channels=NUM_CLASSES, model_channels=32, num_res_blocks=1,
             channel_mult=(1, 2), attention_resolutions=(2,), use_scale_shift_norm=True, resblock_updown=True,
             pool="attention")  # fmt: skip
CLASSIFIERS = {
    "classifier_64": _HALF | dict(num_head_channels=16, num_res_blocks=2),
    "classifier_512": _HALF | dict(num_head_channels=32, model_channels=64, channel_mult=(0.5, 1, 1),
                                   attention_resolutions=(2, 4)),
    "classifier_without_updown": _HALF | dict(num_head_channels=64, resblock_updown=False,
                                              use_scale_shift_norm=False),
}  # fmt: skip


def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal numbers that depend on the name alone."""
    return np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Matrices of variance 1 / fan_in, vectors of variance 1/25 around 0, gains of norms around 1."""
    if len(shape) > 1:
        fan_in = 1 if name.startswith("label_emb") else np.prod(shape[1:])
        return draw(name, shape) / np.float32(np.sqrt(fan_in))
    is_gain = name.endswith(("in_layers.0.weight", "out_layers.0.weight", "norm.weight", "out.0.weight"))
    return draw(name, shape) * np.float32(0.2) + np.float32(is_gain)


def load(case: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The state dict of a case, and the official output, NHWC."""
    with np.load(FILE) as file:
        return _state(file, case), file[f"{case}/output"].transpose(0, 2, 3, 1)


def load_classifier(case: str) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """The state dict of a classifier, its logits [2, 5], and the gradient by the image, NHWC."""
    with np.load(CLASSIFIERS_FILE) as file:
        return _state(file, case), file[f"{case}/logits"], file[f"{case}/gradient"].transpose(0, 2, 3, 1)


def _state(file, case: str) -> dict[str, np.ndarray]:
    shapes = json.loads(str(file[f"{case}/shapes"]))
    return {name: weight(name, tuple(shape)) for name, shape in shapes.items()}


def make() -> None:
    """Run the official code and write the files."""
    import torch
    from guided_diffusion.unet import EncoderUNetModel, UNetModel

    def fill(network):
        shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
        network.load_state_dict({name: torch.from_numpy(weight(name, shape)) for name, shape in shapes.items()})
        return network.eval(), json.dumps(shapes)

    arrays = {}
    for case, arguments in CASES.items():
        network, arrays[f"{case}/shapes"] = fill(UNetModel(**arguments))
        label = {"y": torch.from_numpy(LABELS)} if "num_classes" in arguments else {}
        with torch.no_grad():
            output = network(torch.from_numpy(draw("x", SHAPE)), torch.from_numpy(TIMES), **label)
        arrays[f"{case}/output"] = output.numpy()
    np.savez_compressed(FILE, **arrays)

    arrays = {}
    for case, arguments in CLASSIFIERS.items():
        network, arrays[f"{case}/shapes"] = fill(EncoderUNetModel(**arguments))
        x = torch.from_numpy(draw("x", SQUARE)).requires_grad_()
        logits = network(x, torch.from_numpy(TIMES))
        chosen = torch.log_softmax(logits, dim=-1)[range(len(LABELS)), torch.from_numpy(LABELS)]
        (gradient,) = torch.autograd.grad(chosen.sum(), x)
        arrays |= {f"{case}/logits": logits.detach().numpy(), f"{case}/gradient": gradient.numpy()}
    np.savez_compressed(CLASSIFIERS_FILE, **arrays)


if __name__ == "__main__":
    make()
