"""Datasets as other libraries keep them."""
