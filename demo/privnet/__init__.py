"""A private Tor network on loopback, and the traffic that shows what its links are made of."""
