"""What the containers' deployment needs beside its compose.yaml."""
