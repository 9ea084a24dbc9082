"""Hydra configs as package data: one folder per package of the code, and whole runs under ``experiment/``."""
