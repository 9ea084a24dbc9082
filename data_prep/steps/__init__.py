"""The steps of preparation: each a pure function of its inputs and parameters, stored under the hash of both."""
