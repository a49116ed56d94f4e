"""What a network does on one batch: the only place that hooks or differentiates, but for the trace of a layer."""
