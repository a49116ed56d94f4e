"""This machine: what fails on it, its processes and threads, its arithmetic."""
