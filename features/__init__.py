"""Pure functions of events and event time: session state, feature vectors, derived signals. No clock, no network."""
