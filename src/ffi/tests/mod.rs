//! Two endpoints that talk through the C API alone, with everything that C could do inside callbacks.

mod callbacks;
mod handles;
mod output;
mod panics;
mod world;
