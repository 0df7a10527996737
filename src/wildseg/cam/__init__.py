"""Class activation maps: one recorded trace of the encoder, many methods that read it."""
