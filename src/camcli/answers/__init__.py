"""What a batch is asked, and what becomes of the answers: augmented, fused, diagnosed, tested with random weights."""
