"""What lets tokens see each other: one way a file."""
