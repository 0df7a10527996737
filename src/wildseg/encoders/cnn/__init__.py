"""CNN encoders: built by name, with published weights and the normalisation that these expect."""
