"""Open-Unmix's network, a peer: written from its description, trained here from the start."""
