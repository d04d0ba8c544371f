"""What people answer: requests, decisions, and their way back to the provider."""
