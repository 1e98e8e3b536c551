//! The command line, and what it composes: configuration, one process with any of the bus's roles, the development
//! instance, the demonstration.

pub mod cli;
pub mod client;
pub mod config;
pub mod demo;
pub mod development;
pub mod examples;
pub mod keys;
pub mod process;
