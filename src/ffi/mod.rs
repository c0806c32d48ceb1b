//! The C API: one file per handle. `include/utcp.h` is generated from this module, so the comments on what is
//! exported are written for the C programmer who reads them there.
//!
//! # Safety
//! What every exported function asks of its C caller, beyond what its own comment says:
//! - a pointer is NULL or points to what its type says, for as long as the call lasts, and no other thread uses it;
//!   a pointer with a length, to as many elements;
//! - a handle is NULL or was given out by this library, and its endpoint, or any other handle of that endpoint, has not
//!   been freed; handles freed before that are recognized;
//! - an endpoint and all its handles are used by one thread at a time.
//!
//! Whatever holds only while the library works is kept apart: [`guard`] catches panics, [`handle`] tells live handles
//! from dead ones, [`shared`] lends the endpoint out, [`drive`] calls C.
#![allow(unsafe_code, non_camel_case_types)]

mod bytes;
mod callbacks;
mod circuit;
mod config;
mod connection;
mod drive;
mod endpoint;
mod error;
#[cfg(any(test, feature = "fault-injection"))]
mod fault;
mod guard;
mod handle;
mod log;
mod opaque;
mod shared;
mod size;
mod socket;
mod stats;
mod version;

#[cfg(test)]
mod tests;

use crate::udp::address;
use opaque::{ssl_st, utcp_circuit, utcp_config, utcp_connection, utcp_endpoint, utcp_socket};
