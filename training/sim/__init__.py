"""Days of jobs replayed against policies on a clock that is a number: all of it SIMULATED."""
