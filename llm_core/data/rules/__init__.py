"""Quality rules: each is a function without arguments that gives one number per text, as a polars expression.

The expression reads the column ``text`` (of documents, or of lines for a line rule) and counts from compiled loops
(``measures.statistic``), which run only if a rule needs them. Bounds in use: Gopher (Rae et al., 2021), C4
(Raffel et al., 2020), FineWeb (Penedo et al., 2024).
"""
