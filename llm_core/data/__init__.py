"""From sources to documents: reading, cleaning, deduplication, split."""
