"""What goes into a network together with the picture, bound into a module that takes pictures alone."""
