//! The queue on disk against a directory in memory: without threads, each step when it is asked for.

mod content;
mod crash;
mod damage;
mod disk;
mod edges;
mod faults;
mod model;
mod rig;
mod room;
