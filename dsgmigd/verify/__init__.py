"""The verifier: it walks source and target by itself and shares no code with the copying."""
