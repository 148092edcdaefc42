//! Whole requests and responses over a unix socket, with a node that runs nothing.

mod deletion;
mod exec;
mod fake;
mod hostile;
mod logs;
mod objects;
mod patches;
mod registry;
mod watches;
mod world;
