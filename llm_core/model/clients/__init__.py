"""Other programs that run exported models, and whether they compute what ours does."""
