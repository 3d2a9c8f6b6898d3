"""`tellwire doctor`: looks at a deployment from outside, and says of each finding what, where, why and what to do."""
