//! What the demonstration shows: a line for each step, and a summary for machines.

use std::time::Duration;

use serde::Serialize;

/// One step of the demonstration.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Step {
    /// Its short name.
    pub(super) name: &'static str,
    /// Whether what should happen happened.
    pub(super) passed: bool,
    /// What came back, for people.
    pub(super) result: String,
    /// What was proved by it.
    pub(super) proved: &'static str,
    /// How long the call took, as the calling system sees it.
    pub(super) latency_ms: f64,
    /// The exchange.
    pub(super) exchange_id: Option<String>,
}

/// The whole demonstration, for machines.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    /// Whether every step passed.
    pub(super) passed: bool,
    /// Which broker carried it.
    pub(super) broker: &'static str,
    /// How long the set-up took.
    pub(super) ready_after_ms: u64,
    /// The steps.
    pub(super) steps: Vec<Step>,
}

/// Writes lines for people, or keeps quiet for machines.
pub(super) struct Screen {
    quiet: bool,
    steps: Vec<Step>,
}

impl Screen {
    pub(super) fn new(quiet: bool) -> Self {
        Self { quiet, steps: Vec::new() }
    }

    #[allow(clippy::print_stdout, reason = "the demonstration is for a screen")]
    pub(super) fn line(&self, line: impl std::fmt::Display) {
        if !self.quiet {
            println!("{line}");
        }
    }

    pub(super) fn step(&mut self, step: Step) {
        let Step { name, passed, result, proved, latency_ms, exchange_id } = &step;
        let sign = if *passed { "ok  " } else { "FAIL" };
        let exchange = exchange_id.as_deref().unwrap_or("-");
        self.line(format_args!("{sign} {:>2}. {name:<28} {result}", self.steps.len() + 1));
        self.line(format_args!("         {proved}; {latency_ms:.1} ms, exchange {exchange}"));
        self.steps.push(step);
    }

    pub(super) fn into_summary(self, broker: &'static str, ready_after: Duration) -> Summary {
        let ready_after_ms = u64::try_from(ready_after.as_millis()).unwrap_or(u64::MAX);
        Summary {
            passed: self.steps.iter().all(|step| step.passed),
            broker,
            ready_after_ms,
            steps: self.steps,
        }
    }
}
