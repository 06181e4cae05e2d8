"""How a config of any size would lie on many devices, without them: parameters, bytes a device, what is cut where.

genjax-plan --config=dalle_12b --devices=256 --parent=tokenizer:dvae_dalle
"""

from absl import flags
from ml_collections import ConfigDict

from genjax.core.ranges import COUNT
from genjax.launcher import config_files, startup
from genjax.launcher.flags import define_number
from genjax.pipelines import plan

_CONFIG = startup.define_config()
_DEVICES = define_number("devices", 256, "How many devices there would be; config.mesh arranges them.", COUNT)
_PARENT = flags.DEFINE_multi_string("parent", [], "NAME:FILE, the config of a stage that config.stages names.")


def _read(text: str) -> tuple[str, ConfigDict]:
    name, _, file = text.partition(":")
    if not (name and file):
        raise ValueError(f"--parent={text} can't be read; write NAME:FILE, as in tokenizer:configs/dvae_dalle.py")
    return name, config_files.read(file)


def main():
    """What the program does, its flags being read."""
    parents = dict(_read(text) for text in _PARENT.value)
    print(plan.describe(plan.make(_CONFIG.value, _DEVICES.value, parents)))


def run():
    """The program `genjax-plan`."""
    startup.run(main)
