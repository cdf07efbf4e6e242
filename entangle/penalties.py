"""Penalties: what training adds to the loss besides the loss of the samples."""
