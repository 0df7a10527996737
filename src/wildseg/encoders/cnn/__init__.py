"""CNN encoders: built by name, with published or local weights and their input normalisation."""
