"""The part of a block that looks at each token alone."""
