"""Flags and predictions -> what is asked about each picture."""
