"""The transformer, one idea a file: norms, positions, mixers, feed-forwards, and the decoder that joins them.

Dimensions in tensor names: B batch, T tokens, S tokens attended to, D model, H query heads, K key/value heads,
C channels of a head, E channels of a value head, F feed-forward, V vocabulary.
"""
