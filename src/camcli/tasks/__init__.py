"""What a network said of a picture, and which of its numbers can be asked for."""
