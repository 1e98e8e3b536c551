//! One run, side by side: the same unary call over direct mutual TLS, through the bus on the embedded broker, and through
//! the bus on Kafka.
//!
//! Everything (client, gateways, provider, broker but for Kafka's) runs in this process on this machine, so the ratios are
//! what counts; the absolute figures are this machine's.

mod load;
mod report;
mod sizes;
mod stages;
mod system;
mod world;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;

use load::Load;
use report::Report;
use sizes::Size;
use world::{Carrier, World};

/// Measures the bus beside direct gRPC.
#[derive(Debug, Parser)]
struct Arguments {
    /// A Kafka broker without TLS; without one, its column is left out and said to be missing.
    #[arg(long, value_name = "HOST:PORT", env = "KOPURO_TEST_KAFKA")]
    kafka: Option<String>,
    /// How long each cell is measured, in seconds.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Where the figures are written as JSON; without it, bench.json in the target folder that this was built in.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Calls in flight.
const IN_FLIGHT: [usize; 4] = [1, 16, 64, 256];

#[allow(clippy::print_stdout, reason = "whoever measures is told where the figures are")]
fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let report = runtime.block_on(measure(&arguments))?;
    report.print();
    let json = arguments.json.map_or_else(beside_build, Ok)?;
    std::fs::write(&json, serde_json::to_vec_pretty(&report)?)
        .with_context(|| format!("{} cannot be written", json.display()))?;
    println!("\nthe same as JSON: {}", json.display());
    Ok(())
}

/// `bench.json` in the target folder: cargo puts this program into a folder of it that is named for the profile.
fn beside_build() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let target = program.ancestors().nth(2).context("the program lies in no target folder")?;
    Ok(target.join("bench.json"))
}

async fn measure(arguments: &Arguments) -> anyhow::Result<Report> {
    let span = Duration::from_secs_f64(arguments.seconds);
    let mut report = Report::new(system::describe());
    report.idle_bytes = idle().await?;
    let mut carriers = vec![Carrier::Direct, Carrier::Embedded];
    carriers.extend(arguments.kafka.clone().map(Carrier::Kafka));
    for carrier in carriers {
        let world = World::start(&carrier).await?;
        for load in loads(&carrier) {
            let measured = load::run(&world, load, span).await?;
            report.row(carrier.name(), load, measured);
        }
        if let Some(stages) = world.stages() {
            report.in_situ(carrier.name(), stages);
        }
        world.stop().await;
    }
    report.stages = stages::measure();
    Ok(report)
}

fn loads(carrier: &Carrier) -> Vec<Load> {
    let reads = [Size::OneKilobyte, Size::TenKilobytes]
        .into_iter()
        .flat_map(|size| IN_FLIGHT.map(|in_flight| Load { in_flight, size, effect: false }));
    let effects = IN_FLIGHT.map(|in_flight| Load { in_flight, size: Size::OneKilobyte, effect: true });
    match carrier {
        Carrier::Direct => reads.collect(),
        Carrier::Embedded | Carrier::Kafka(_) => reads.chain(effects).collect(),
    }
}

/// The memory of a process with the registry and four idle gateways. **Units:** bytes.
async fn idle() -> anyhow::Result<u64> {
    let world = World::start(&Carrier::Embedded).await?;
    let bytes = system::resident_bytes();
    world.stop().await;
    Ok(bytes)
}
