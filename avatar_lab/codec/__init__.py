"""Codecs between media and the tokens and latents of the model: one file each, one protocol."""
