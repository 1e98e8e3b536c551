//! The edge's plumbing: connections with mutual TLS, who is calling, and how an error leaves the process.

pub mod status;
