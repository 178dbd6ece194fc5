"""Names for specimens without one: probes of the named specimens, calibrated and tested on other gatherings."""
