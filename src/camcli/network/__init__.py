"""A network's work on one batch: only this package hooks and differentiates, apart from the trace of a layer."""
