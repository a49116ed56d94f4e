"""What was named -> pictures: found, decoded, and made into what the network sees."""
