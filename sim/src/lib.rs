//! The simulated world: one seed is one life of a quorum.
//!
//! A seed is drawn into a [`scenario`], lived by [`life`], told by an [`outcome`]; [`sweep`]
//! lives many. `docs/SIMULATION.md` is the manual.

pub mod atlas;
pub mod cli;
pub mod draw;
pub mod invariants;
pub mod life;
pub mod nemesis;
pub mod outcome;
pub mod plan;
pub mod rundir;
pub mod scenario;
pub mod shrink;
pub mod sweep;
pub mod trace;
pub mod world;

#[cfg(not(madsim))]
compile_error!(
    "the simulator needs `--cfg madsim`: build from inside the repository, so that \
     .cargo/config.toml is read, and without RUSTFLAGS in the environment, which replace it"
);
