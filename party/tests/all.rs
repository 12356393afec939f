//! Tests of the party's server, in one program: linking each file by itself would take longer than running it.

mod world;

mod acknowledged;
mod at_rest;
mod burden;
mod cards;
mod carried;
mod certificates;
mod cli;
mod clock;
mod control;
mod corrections;
mod crash;
mod floods;
mod handover;
mod intake;
mod lists;
mod mirror;
mod officials;
mod offsets;
mod open_rolls;
mod operations;
mod regain;
mod replacement;
mod rush;
mod sealing;
mod tickets;
mod together;
mod wire;
