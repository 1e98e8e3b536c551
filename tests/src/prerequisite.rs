//! What a suite needs from the machine: Kafka, Python. `make test` sets it up and names it in the environment.
//!
//! A suite that lacks it says so past the test harness, in a line that `make test` collects. In CI it fails.

use std::env;
use std::io::Write;

/// The bootstrap address of a real Kafka, for example `127.0.0.1:31088`.
pub const KAFKA: &str = "KOPURO_TEST_KAFKA";
/// The interpreter of the foreign client's environment, as `tests/python/setup` prints it.
pub const PYTHON: &str = "KOPURO_TEST_PYTHON";

/// Reads `variable`, without which `suite` cannot run; `None`, said on standard error, when it is not set.
///
/// # Panics
/// When it is not set and `CI` is `true`: there nothing may be skipped.
pub fn prerequisite(variable: &str, suite: &str) -> Option<String> {
    let found = env::var(variable).ok().filter(|value| !value.is_empty());
    if found.is_none() {
        assert!(env::var("CI").as_deref() != Ok("true"), "{suite} needs {variable}, and CI may skip nothing");
        // Written past the test harness, which swallows what a passing test prints.
        let line = format!("skipped: {suite}: {variable} is not set\n");
        std::io::stderr().write_all(line.as_bytes()).expect("standard error is open");
    }
    found
}
