"""The gate's edge: golden sessions of the simulation, previous artefacts wherever they are, time and memory."""
