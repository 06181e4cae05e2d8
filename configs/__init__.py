"""One file a setting: `<family>_<dataset>.py` with `get_config(variant="")`, where "tiny" is a variant of each."""
