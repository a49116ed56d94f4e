"""A network's output, read as scores of a picture, and the numbers of it that can be asked for."""
