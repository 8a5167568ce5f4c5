"""Quality rules: each is a function without arguments that gives one number per text, as a polars expression.

The expression is over the column ``text`` (of documents, and for a line rule of lines) and over counts that compiled
loops make (``units.statistic``), which run only if a rule asks for them. Bounds in use: Gopher (Rae et al., 2021), C4
(Raffel et al., 2020), FineWeb (Penedo et al., 2024).
"""
