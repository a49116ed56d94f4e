"""Named inputs -> pictures: found, decoded, and made into the network's views."""
