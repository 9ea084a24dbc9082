"""Reads behaviour back from pixels, for evaluation; knows neither the world nor the codecs."""
