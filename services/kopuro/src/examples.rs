//! Example agencies' systems: ordinary gRPC servers that know nothing of the bus.
//!
//! They serve the example contracts with invented persons, and stand behind the demonstration, the end-to-end tests and
//! the benches. Every number, name and address here is made up.

mod civil_registry;
pub mod commands;
mod pensions;
mod people;
mod personal_account;
pub mod server;
mod violations;

pub use civil_registry::CivilRegistry;
pub use pensions::Pensions;
pub use people::{PERSON, Person, UNKNOWN_PIN};
pub use personal_account::PersonalAccounts;
pub use violations::Violations;
