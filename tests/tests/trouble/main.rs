//! What goes wrong in two weeks of polling, each on real processes: certificates that end, servers told to stop under load, a disk that is really
//! full, a network that is slow or dead, an operator who rewrites the log, tally sessions that abort.

mod aborts;
mod certificates;
mod disk;
mod matrix;
mod pulls;
mod rewritten;
mod scene;
mod shutdown;
mod slow;
