"""Test-time compute: many answers to one question, and what they are worth."""
