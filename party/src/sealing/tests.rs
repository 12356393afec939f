//! Three parties seal in one process, over a network that a saboteur may sit in, on disks that fail on command.

mod audit;
mod complaints;
mod crash;
mod honest;
mod lies;
mod lost;
mod network;
mod objects;
mod other_box;
mod records;
mod refusals;
mod restored;
mod world;
