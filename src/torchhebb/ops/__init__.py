"""Fast implementations of functions in `torchhebb.functional`."""
