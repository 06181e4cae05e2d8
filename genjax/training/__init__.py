"""Floor 4: one trainer for all families; it knows `families.base` and no family by name."""
