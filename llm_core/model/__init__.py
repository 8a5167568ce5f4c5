"""The decoder and its components, one idea per file: norms, positions, mixers and feed-forwards.

Dimensions in tensor names: B batch, T tokens, S tokens attended to, D model, H query heads, K key/value heads,
C channels of a head, E channels of a value head, F feed-forward, V vocabulary.
"""
