"""One engine server: preparation, start, proof of identity, log, known failures."""
