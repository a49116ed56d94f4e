"""Raw values -> pictures the size of the original."""
