"""Each flag once: what it is called, what it takes, what `--help` says and what completion offers."""
