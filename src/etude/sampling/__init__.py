"""What a model writes: batched decoding."""
