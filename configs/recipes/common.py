"""The fields that every config has, with their defaults and meaning; a family's own are explained in its `Settings`.

A config file starts from `base()` and says only what its setting needs. `launch/train.py --config=FILE` reads it
(`--config=FILE:tiny` for the variant), and any field can be overridden on the command line:
`--config.training.num_steps=1000`. The types are those of the defaults here; an unknown field is an error.
"""

from collections.abc import Callable

from ml_collections import ConfigDict


def expect_variant(variant: str, *others: str) -> None:
    """Refuse a variant that a config doesn't have.

    Args:
        variant: what follows the colon of `--config=FILE.py:variant`.
        others: the variants beside "" and "tiny", which every config has.

    Raises:
        ValueError: for another one.
    """
    if variant not in ("", *others, "tiny"):
        known = ", ".join(["none", *others, "tiny"])
        raise ValueError(f"unknown variant {variant!r} of the config; known: {known}, as in --config=FILE.py:tiny")


def select(config: ConfigDict, variant: str, shrink: Callable[[ConfigDict], None]) -> ConfigDict:
    """The config itself for the variant "", made small for "tiny".

    Args:
        config: at its full size.
        variant: which.
        shrink: makes it small, in place.

    Raises:
        ValueError: for another variant.
    """
    expect_variant(variant)
    if variant == "tiny":
        shrink(config)
    return config


def adam(learning_rate: float, **settings) -> ConfigDict:
    """The settings of one player's optimizer, Adam unless said otherwise: `genjax.training.optim.make_optimizer`."""
    config = ConfigDict()
    config.name = "adam"
    config.learning_rate = learning_rate
    config.schedule = "constant"
    config.end_factor = 0.0
    config.decay_steps = 0
    config.warmup_steps = 0
    config.b1 = 0.9
    config.b2 = 0.999
    config.eps = 1e-8
    config.momentum = 0.0
    config.weight_decay = 0.0
    config.clip_norm = 0.0
    config.layer_decay = 1.0
    config.update(settings)
    return config


def base() -> ConfigDict:
    """Every field that does not belong to a family, at its default."""
    config = ConfigDict()
    config.family = ""
    config.seed = 0
    config.init_from = ""  # a workdir whose parameters a fresh run starts from
    config.stages = ConfigDict()  # name -> {"workdir": ...}, relative to this run's workdir or to here

    config.data = data = ConfigDict()
    data.name = ""  # digits, captioned_shapes/32, any TFDS name, or folder:/path
    data.data_dir = ""  # where prepared datasets lie; "" = $TFDS_DATA_DIR, else ~/tensorflow_datasets
    data.split = "train"
    data.eval_split = "test"
    data.image_size = 32
    data.channels = 3
    data.crop = "center"  # center, random
    data.flip = False  # random horizontal flips
    data.batch_size = 128  # over all devices and processes
    data.num_workers = 0  # loader processes; 0 = threads only
    data.read_threads = 2  # loader threads of each process
    data.tokenizer = ConfigDict()  # how captions become tokens: bpe(...), clip(...), ...; empty: they don't
    data.encoded = ""  # a folder that launch/encode.py wrote: train on that, instead of encoding each batch anew
    data.max_broken = 0.01  # share of images that may turn out to be broken on the way, each skipped and named
    data.keep_images = False  # with codes of data.encoded, also give the images

    config.model = ConfigDict()  # the family's own settings
    config.optimizer = ConfigDict()  # a player's name -> adam(...)

    config.training = training = ConfigDict()
    training.num_steps = 100_000
    training.microbatches = 1  # gradient accumulation: the batch is cut into so many pieces
    training.on_nonfinite = "stop"  # a loss or gradient that is NaN: end the run, or "skip" the update and say so
    training.max_nonfinite = 100  # updates in a row that "skip" skips before it ends the run too
    training.attention = "auto"  # its kernel: cuDNN's on GPUs, splash on TPUs where they fit; xla, cudnn, splash
    training.ema = ConfigDict({"decay": 0.9999, "warmup": True})  # warm-up: min(decay, (1 + step) / (10 + step))

    config.mesh = ConfigDict({"data": -1, "fsdp": 1, "tensor": 1})  # devices along each axis; -1 = all the rest

    config.checkpoint = ConfigDict({"every": 5_000, "keep": 3})  # steps; newest kept
    config.log = log = ConfigDict()
    log.every = 100  # steps between metrics
    log.sample_every = 5_000  # steps between sample grids; 0 = never
    log.eval_every = 5_000  # steps between evaluations on held-out data; 0 = never
    log.num_samples = 64  # images in a grid

    config.sampling = ConfigDict()  # the family's defaults for sampling
    return config


def bpe(vocab_size: int = 512, length: int = 16, dropout: float = 0.0) -> ConfigDict:
    """`config.data.tokenizer`: byte pairs trained on the captions of the training split."""
    return _tokenizer("bpe", length, vocab_size=vocab_size, dropout=dropout)


def clip(file: str, length: int = 77, dropout: float = 0.0) -> ConfigDict:
    """`config.data.tokenizer`: OpenAI CLIP's, of 49,408 tokens; `file` is its bpe_simple_vocab_16e6.txt.gz."""
    return _tokenizer("clip", length, file=file, dropout=dropout)


def gpt2(file: str, length: int = 128, dropout: float = 0.0) -> ConfigDict:
    """`config.data.tokenizer`: GPT-2's, of 50,257 tokens; `file` is its vocab.json, with merges.txt beside it."""
    return _tokenizer("gpt2", length, file=file, dropout=dropout)


def t5(file: str, length: int = 128) -> ConfigDict:
    """`config.data.tokenizer`: T5's, of 32,100 tokens; `file` is its spiece.model."""
    return _tokenizer("t5", length, file=file)


def wordpiece(file: str = "", length: int = 32) -> ConfigDict:
    """`config.data.tokenizer`: a BERT-style model's; `file` is its tokenizer.json, "" = all-MiniLM-L6-v2's."""
    return _tokenizer("wordpiece", length, file=file)


def _tokenizer(name: str, length: int, vocab_size: int = 0, file: str = "", dropout: float = 0.0) -> ConfigDict:
    config = ConfigDict({"name": name})
    config.update(length=length, vocab_size=vocab_size, file=file, dropout=dropout)  # `genjax.data.tokenizers.Settings`
    return config


def diffusion() -> ConfigDict:
    """`base()` with the fields of `genjax.families.shared.diffusion_settings`, set as in DDPM (arXiv:2006.11239)."""
    config = base()
    config.family = "diffusion"
    config.model = model = ConfigDict()
    model.schedule = ConfigDict({"name": "linear_beta", "num_steps": 1000})
    model.parameterization = ConfigDict({"name": "eps"})
    model.weighting = ConfigDict({"name": "simple"})
    model.time_sampler = ConfigDict({"name": "uniform"})
    model.objective = "simple"
    model.learned_variance = False
    model.vb_weight = 1.0
    model.conditional = False
    model.label_dropout = 0.0
    model.low_res = ConfigDict()
    model.inpaint = ConfigDict()
    model.dtype = "float32"
    model.network = ConfigDict({"name": "unet"})
    config.optimizer = ConfigDict({"model": adam(2e-4)})

    config.sampling = sampling = ConfigDict()
    sampling.sampler = ConfigDict({"name": "ancestral"})
    sampling.num_steps = "1000"
    sampling.guidance_scale = 1.0
    sampling.guidance_interval = ()
    sampling.guidance_rescale = 0.0
    sampling.threshold = ConfigDict({"name": "static"})
    sampling.trajectory = False
    sampling.batch_size = 64
    sampling.strength = 1.0
    sampling.aug_level = 0.0
    sampling.resamples = 1
    sampling.guides = ()
    sampling.noise_scale = 1.0
    return config


def low_res(size: int, **settings) -> ConfigDict:
    """`config.model.low_res`: what a super-resolution model upsamples, see `genjax.conditioning.low_res.LowRes`."""
    config = ConfigDict()
    config.size = size
    config.blur = ()
    config.blur_share = 1.0
    config.max_aug_level = 0.0
    config.crop_fraction = 1.0
    config.dropout = 0.0
    config.bsr = False
    config.update(settings)
    return config


def inpaint(**settings) -> ConfigDict:
    """`config.model.inpaint`: what is erased in training, see `genjax.conditioning.inpainting.Inpaint`."""
    config = ConfigDict()
    config.min_side = 0.2
    config.max_side = 0.8
    config.everything = 0.25
    config.update(settings)
    return config


def noisy_classifier() -> ConfigDict:
    """`base()` with the fields of `genjax.families.noisy_classifier.Settings` (arXiv:2105.05233)."""
    config = base()
    config.family = "noisy_classifier"
    config.model = model = ConfigDict()
    model.schedule = ConfigDict({"name": "linear_beta", "num_steps": 1000})
    model.dtype = "float32"
    model.network = ConfigDict({"name": "encoder_unet"})
    config.optimizer = ConfigDict({"model": adam(3e-4)})
    config.log.sample_every = 0
    return config
