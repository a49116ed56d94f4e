"""Bytes in and out, whole or not at all: paths, URIs and pipes."""
