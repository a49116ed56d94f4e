"""What a finished map says: numpy alone. Rows, drawings and metrics share it."""
