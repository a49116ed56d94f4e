"""Each flag once: its name, its values, its `--help` text and its completion."""
