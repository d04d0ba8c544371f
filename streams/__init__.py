"""What the providers say: held streams, their events, and what they mean."""
