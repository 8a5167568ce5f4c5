"""The stages of the story: what each makes, from what, checked how."""
