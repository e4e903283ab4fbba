//! The simulated world: one seed is one life of a quorum.
