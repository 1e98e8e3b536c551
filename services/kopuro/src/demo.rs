//! The demonstration: agencies with a gateway each, their example systems behind them, and a citizen portal that calls
//! them; then everything that must be refused. Real TLS, real signatures, a real log; nothing is staged but the faults.

mod meddler;
mod report;
mod steps;
mod world;

use std::path::PathBuf;
use std::time::Instant;

use report::Screen;
use steps::Demonstration;
use world::World;

/// What varies between demonstrations.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// The folder of the instance, which must be empty or missing.
    pub folder: PathBuf,
    /// The `host:port` of a Kafka broker, instead of the embedded one.
    pub kafka: Option<String>,
    /// A summary for machines instead of lines for people.
    pub json: bool,
    /// Keep it running, and show commands to try.
    pub hold: bool,
}

/// Shows the demonstration. Says whether every step came out as it should.
///
/// # Errors
/// When the instance cannot be set up; what a step shows is in its line.
#[allow(clippy::print_stdout, reason = "the demonstration is for a screen, and its summary for machines")]
pub async fn run(options: &DemoOptions) -> anyhow::Result<bool> {
    let started = Instant::now();
    let screen = Screen::new(options.json);
    screen.line("Kopuro: four agencies, a gateway each, one broker that nobody trusts\n");
    let world = World::start(options, &screen).await?;
    let ready_after = started.elapsed();
    screen.line(format_args!("ready after {:.1} s\n", ready_after.as_secs_f64()));
    let mut demonstration = Demonstration::new(&world, screen)?;
    demonstration.exchanges().await;
    demonstration.refusals().await;
    demonstration.faults().await?;
    let screen = demonstration.finish();
    let broker = if options.kafka.is_some() { "kafka" } else { "embedded" };
    let summary = screen.into_summary(broker, ready_after);
    if options.json {
        println!("{}", serde_json::to_string_pretty(&summary)?);
    } else if summary.passed {
        println!("\nall {} steps came out as they should", summary.steps.len());
    } else {
        println!("\nsome steps did not come out as they should");
    }
    if options.hold {
        println!("\nheld; end it with Ctrl-C. Try, in another terminal:\n\n{}", world.commands()?);
        world.hold().await?;
    }
    world.stop().await;
    Ok(summary.passed)
}
