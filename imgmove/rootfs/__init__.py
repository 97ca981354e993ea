"""What layers are made of: tar streams, and their union."""
