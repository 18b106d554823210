"""Learners: one algorithm per file, over one candidate-scoring network."""
