"""The transformer, one idea a file: norms, positions, attention, feed-forward, and the decoder that joins them.

Dimensions in tensor names: B batch, T tokens, S tokens attended to, D model, H query heads, K key/value heads,
C channels of a head, F feed-forward, V vocabulary.
"""
