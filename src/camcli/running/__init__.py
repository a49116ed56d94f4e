"""A run: prepared, computed batch by batch, on one machine or several, timed and verified."""
