"""Floor 2: Linen modules that families share. No losses, no training, no configs."""
