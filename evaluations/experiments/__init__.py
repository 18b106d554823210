"""Experiments: policies trained for a question, judged beside rivals, and the answer reported."""
