"""Filters between the model's text and what the editor gets."""
