//! The queue on disk against a directory in memory: without threads, each step when it is asked for.

mod crash;
mod disk;
mod edges;
mod model;
mod rig;
mod room;
