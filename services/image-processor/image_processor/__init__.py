"""Renders every variant of an uploaded picture and stores it by strategy."""
