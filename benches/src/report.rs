//! The figures, as a table for people and JSON for machines.

use serde::Serialize;

use crate::load::{Load, Measured};
use crate::stages::{InSitu, Stage};
use crate::system::Machine;

const MIB: f64 = 1024.0 * 1024.0;

/// Everything that was measured in one run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    machine: Machine,
    /// The memory of a process with the registry and four idle gateways. **Units:** bytes.
    pub(crate) idle_bytes: u64,
    rows: Vec<Row>,
    /// Stages by themselves.
    pub(crate) stages: Vec<Stage>,
    in_situ: Vec<(&'static str, Vec<InSitu>)>,
}

#[derive(Debug, Serialize)]
struct Row {
    carrier: &'static str,
    #[serde(flatten)]
    load: Load,
    #[serde(flatten)]
    measured: Measured,
    /// Throughput beside direct gRPC at the same load; none for methods with an effect, which direct gRPC cannot carry once.
    ratio_to_direct: Option<f64>,
}

impl Report {
    /// A report of this machine.
    pub(crate) fn new(machine: Machine) -> Self {
        Self { machine, idle_bytes: 0, rows: Vec::new(), stages: Vec::new(), in_situ: Vec::new() }
    }

    /// Adds what was measured.
    pub(crate) fn row(&mut self, carrier: &'static str, load: Load, measured: Measured) {
        let same = |row: &&Row| {
            row.carrier == "direct" && row.load.in_flight == load.in_flight && row.load.size == load.size
        };
        let direct = self.rows.iter().find(same).filter(|_| !load.effect);
        let ratio_to_direct = direct.map(|direct| measured.per_second / direct.measured.per_second);
        self.rows.push(Row { carrier, load, measured, ratio_to_direct });
    }

    /// Adds the stages as the gateways saw them.
    pub(crate) fn in_situ(&mut self, carrier: &'static str, stages: Vec<InSitu>) {
        self.in_situ.push((carrier, stages));
    }

    /// Prints the table.
    #[allow(clippy::print_stdout, reason = "the table is for a screen")]
    pub(crate) fn print(&self) {
        let Machine { processors, model, memory_bytes } = &self.machine;
        println!("{processors} processors ({model}), {:.0} GiB", *memory_bytes as f64 / MIB / 1024.0);
        println!(
            "a process with the registry and four idle gateways: {:.0} MiB\n",
            self.idle_bytes as f64 / MIB
        );
        println!(
            "carrier   answer  effect  in flight     calls/s    p50 ms    p99 ms  CPU us/call  peak MiB  to direct"
        );
        for Row { carrier, load, measured, ratio_to_direct } in &self.rows {
            let Measured { per_second, p50_ms, p99_ms, processor_us, peak_bytes } = measured;
            let ratio = ratio_to_direct.map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
            println!(
                "{carrier:<9} {:<7} {:<7} {:>9} {per_second:>11.0} {p50_ms:>9.2} {p99_ms:>9.2} {processor_us:>12.0} {:>9.0} {ratio:>10}",
                load.size.name(),
                if load.effect { "once" } else { "none" },
                load.in_flight,
                *peak_bytes as f64 / MIB,
            );
        }
        println!("\nstages by themselves, 1 KB, one processor:");
        for Stage { name, mean_us } in &self.stages {
            println!("  {name:<26} {mean_us:>8.2} us");
        }
        for (carrier, stages) in &self.in_situ {
            println!("\nstages as the gateways saw them, {carrier}, mean over all loads:");
            for InSitu { name, mean_us, count } in stages {
                println!("  {name:<26} {mean_us:>8.0} us  {count:>9} times");
            }
        }
    }
}
