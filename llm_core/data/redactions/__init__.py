"""What is taken out of texts before rules judge them."""
