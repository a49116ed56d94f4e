"""The contents of a finished map: numpy and OpenCV alone. Rows, drawings and metrics share it."""
