"""Datasets made, published, checked and shown: recipes, reference scores, commands."""
