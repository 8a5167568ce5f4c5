"""Channel mixing of RWKV: feed-forwards with token shift."""
