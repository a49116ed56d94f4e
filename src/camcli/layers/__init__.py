"""Which layer a map is drawn from, and why."""
