"""Python's own face: `explain` and `explain_many`, for people who already hold a network."""
