"""The fault matrix: each row injects one fault into real processes and proves with its observables what held."""
