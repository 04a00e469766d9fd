//! Losses of power: to come with the simulated disk.
