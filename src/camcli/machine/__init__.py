"""This machine: its failures, its processes and threads, its arithmetic."""
