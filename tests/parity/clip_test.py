"""Equality of CLIP with transformers' `CLIPModel`, and of its residual network with a module written from the paper."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.families import clip as family
from genjax.families.interfaces import Weights
from genjax.nn.clip_resnet import ClipResNet
from genjax.pretrained import clip
from genjax.typing import DataSpec

torch = pytest.importorskip("torch", reason="needs the extra [parity]")
transformers = pytest.importorskip("transformers", reason="needs the extra [parity]")

pytestmark = pytest.mark.parity

SPEC = DataSpec((16, 16, 3), has_text=True, text_length=7, vocab_size=50)
MODEL = {
    "image": {"name": "vit", "patch_size": 8, "width": 24, "depth": 2, "num_heads": 3},
    "text": {"width": 16, "depth": 2, "num_heads": 2},
    "dim": 10,
    "mean": (0.48, 0.45, 0.4),
    "std": (0.27, 0.26, 0.28),
}


def shaken(network, size=0.2):
    """The network in evaluation, nothing left at PyTorch's zeros and ones."""
    torch.manual_seed(0)
    for value in network.parameters():
        value.data += size * torch.randn_like(value)
    for name, value in network.named_buffers():
        if "running" in name:
            value.data += 0.3 * torch.rand_like(value)
    return network.eval()


def arrays_of(network):
    return {name: value.detach().numpy() for name, value in network.state_dict().items()}


def check(ours, theirs):
    error = np.abs(np.asarray(ours) - theirs).max() / np.abs(theirs).max()
    print(f"relative error {error:.1e}")  # shown by pytest -s
    assert error < 1e-5


@pytest.fixture(scope="module")
def clip_model():
    shared = {"num_hidden_layers": 2, "hidden_act": "quick_gelu"}
    text = dict(hidden_size=16, intermediate_size=64, num_attention_heads=2, vocab_size=50, max_position_embeddings=7)
    ends = {"bos_token_id": 48, "eos_token_id": 49, "pad_token_id": 0}
    vision = dict(hidden_size=24, intermediate_size=96, num_attention_heads=3, image_size=16, patch_size=8)
    config = transformers.CLIPConfig(
        text_config={**text, **shared, **ends}, vision_config={**vision, **shared}, projection_dim=10
    )
    return shaken(transformers.CLIPModel(config))


@pytest.fixture(scope="module")
def model():
    return family.make_model(family.Settings(**MODEL), SPEC)


def test_both_towers_and_logits_equal_transformers(clip_model, model):
    numbers = np.random.default_rng(0)
    images = numbers.uniform(-1, 1, (4, 16, 16, 3)).astype(np.float32)
    tokens = numbers.integers(1, 48, (4, 7))
    for row, end in zip(tokens, (3, 6, 4, 5)):
        row[0], row[end], row[end + 1 :] = 48, 49, 0
    pixels = ((images + 1) / 2 - np.array(MODEL["mean"])) / np.array(MODEL["std"])
    with torch.no_grad():
        theirs = clip_model(
            input_ids=torch.from_numpy(tokens),
            pixel_values=torch.from_numpy(pixels.transpose(0, 3, 1, 2).astype(np.float32)),
        )
    params, stats = clip.clip_params(arrays_of(clip_model), model.image, model.text)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), {"image": jnp.asarray(images)}))
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, shapes[0]["model"]) and stats == {}
    weights = Weights({"model": jax.tree.map(jnp.asarray, params)}, stats, {})
    z_i = jax.jit(lambda x: model.encode_image(weights, x))(images)
    features = jax.jit(lambda x: model.read_text(weights, x))(tokens)
    check(z_i, theirs.image_embeds.numpy())
    check(features.pooled, theirs.text_embeds.numpy())
    check(features.states, theirs.text_model_output.last_hidden_state.numpy())
    check(family.logit_scale(weights.params["model"]) * z_i @ features.pooled.T, theirs.logits_per_image.numpy())


def test_left_over_and_missing_weights_are_told(clip_model, model):
    arrays = arrays_of(clip_model)
    with pytest.raises(ValueError, match="1 unknown .visual.extra."):
        clip.clip_params({**arrays, "vision_model.extra": np.zeros(1)}, model.image, model.text)
    with pytest.raises(ValueError, match="7 missing .visual.transformer.resblocks.2.ln_1.weight"):
        clip.clip_params(arrays, model.image.clone(depth=3), model.text)


class Bottleneck(torch.nn.Module):
    """Figure and text of section 2.4, with the names of the release."""

    def __init__(self, inner, outer, stride):
        super().__init__()
        conv, norm = torch.nn.Conv2d, torch.nn.BatchNorm2d
        self.conv1, self.bn1 = conv(outer, inner, 1, bias=False), norm(inner)
        self.conv2, self.bn2 = conv(inner, inner, 3, padding=1, bias=False), norm(inner)
        self.conv3, self.bn3 = conv(inner, 4 * inner, 1, bias=False), norm(4 * inner)
        self.shrink = torch.nn.AvgPool2d(stride)
        if stride > 1 or outer != 4 * inner:
            self.downsample = torch.nn.Sequential(conv(outer, 4 * inner, 1, bias=False), norm(4 * inner))

    def forward(self, x):
        h = torch.relu(self.bn1(self.conv1(x)))
        h = self.shrink(torch.relu(self.bn2(self.conv2(h))))
        skip = self.downsample(self.shrink(x)) if hasattr(self, "downsample") else x
        return torch.relu(self.bn3(self.conv3(h)) + skip)


class Pool(torch.nn.Module):
    """Attention from the mean of all positions, by PyTorch's own attention."""

    def __init__(self, positions, width, heads, out):
        super().__init__()
        self.positional_embedding = torch.nn.Parameter(torch.randn(positions, width))
        self.q_proj, self.k_proj, self.v_proj = (torch.nn.Linear(width, width) for _ in range(3))
        self.c_proj = torch.nn.Linear(width, out)
        self.heads = heads

    def forward(self, x):
        tokens = x.flatten(2).transpose(1, 2)
        tokens = torch.cat([tokens.mean(1, keepdim=True), tokens], 1) + self.positional_embedding
        q, k, v = (
            proj(part).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for proj, part in ((self.q_proj, tokens[:, :1]), (self.k_proj, tokens), (self.v_proj, tokens))
        )
        return self.c_proj(torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(1))


class Visual(torch.nn.Module):
    """The whole image tower, of two levels."""

    def __init__(self, width=8, depths=(2, 2), heads=4, out=10, size=16):
        super().__init__()
        conv, norm = torch.nn.Conv2d, torch.nn.BatchNorm2d
        self.conv1, self.bn1 = conv(3, width // 2, 3, stride=2, padding=1, bias=False), norm(width // 2)
        self.conv2, self.bn2 = conv(width // 2, width // 2, 3, padding=1, bias=False), norm(width // 2)
        self.conv3, self.bn3 = conv(width // 2, width, 3, padding=1, bias=False), norm(width)
        outer = width
        for level, depth in enumerate(depths):
            blocks = []
            for i in range(depth):
                blocks.append(Bottleneck(width * 2**level, outer, 2 if level and i == 0 else 1))
                outer = 4 * width * 2**level
            setattr(self, f"layer{level + 1}", torch.nn.Sequential(*blocks))
        self.attnpool = Pool((size // 2 ** (1 + len(depths))) ** 2 + 1, outer, heads, out)

    def forward(self, x):
        for conv, norm in ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)):
            x = torch.relu(norm(conv(x)))
        x = torch.nn.functional.avg_pool2d(x, 2)
        return self.attnpool(self.layer2(self.layer1(x)))


def test_residual_tower_equals_the_papers(clip_model, model):
    visual = shaken(Visual())
    network = ClipResNet(out_channels=10, width=8, depths=(2, 2), num_heads=4)
    text = {name: array for name, array in clip._as_released(arrays_of(clip_model)).items() if "visual" not in name}
    released = {f"visual.{name}": array for name, array in arrays_of(visual).items()} | text
    released["context_length"] = np.array(7)
    params, stats = clip.clip_params(released, network, model.text)
    images = np.random.default_rng(0).normal(size=(3, 16, 16, 3)).astype(np.float32)
    with torch.no_grad():
        theirs = visual(torch.from_numpy(images.transpose(0, 3, 1, 2))).numpy()
    shapes = jax.eval_shape(network.init, jax.random.key(0), images)
    assert jax.tree.map(jnp.shape, {"params": params["image"], "batch_stats": stats}) == jax.tree.map(jnp.shape, shapes)
    check(jax.jit(network.apply)({"params": params["image"], "batch_stats": stats}, images), theirs)
