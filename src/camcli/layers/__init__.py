"""The choice of the layer that a map is drawn from."""
