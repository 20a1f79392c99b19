"""The kernel every Mediabus service stands on."""
