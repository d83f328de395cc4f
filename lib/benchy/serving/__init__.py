"""One engine server: preparation, start, proof, log, known failures."""
