"""The main job, shown on real pictures: upload, render, store, look at the result."""
