"""The answers of a batch: asked for, augmented, fused, diagnosed, and tested with random weights."""
