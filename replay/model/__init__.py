"""Facts and requests: the nouns of replay, pure values."""
