"""Answers side by side: results -> a sheet (`comparing`) -> pages (`arranging`) -> files (`raster`, `svg`, `pdf`)."""
