"""Quality rules: each is a function without arguments that gives one number for the column ``text``, as polars.

Thresholds in use: Gopher (Rae et al., 2021), C4 (Raffel et al., 2020), FineWeb (Penedo et al., 2024).
"""
