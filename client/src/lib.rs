//! The voter and station client: library and command.
