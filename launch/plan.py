"""How a config of any size would lie on many devices, without them: parameters, bytes a device, what is cut where.

python launch/plan.py --config=configs/dalle_12b.py --devices=256 --parent=tokenizer:configs/dvae_dalle.py
"""

import importlib.util
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict

from genjax import launcher
from genjax.pipelines import plan

_CONFIG = launcher.define_config()
_DEVICES = flags.DEFINE_integer("devices", 256, "How many devices there would be; config.mesh arranges them.")
_PARENT = flags.DEFINE_multi_string("parent", [], "NAME:FILE, the config of a stage that config.stages names.")
flags.mark_flag_as_required("config")


def _read(text: str) -> tuple[str, ConfigDict]:
    name, _, path = text.partition(":")
    spec = importlib.util.spec_from_file_location(name, path)
    if not Path(path).is_file() or spec is None:
        raise ValueError(f"--parent={text} can't be read; write NAME:FILE, as in tokenizer:configs/dvae_dalle.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return name, module.get_config()


def main():
    parents = dict(_read(text) for text in _PARENT.value)
    print(plan.describe(plan.make(_CONFIG.value, _DEVICES.value, parents)))


if __name__ == "__main__":
    launcher.run(main)
