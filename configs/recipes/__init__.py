"""What the configs of a family share: settings that a config starts from."""
