//! A closed load: so many calls in flight, each followed at once by the next.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use kopuro_core::id::RequestId;
use kopuro_trust::random;
use serde::Serialize;

use crate::sizes::Size;
use crate::system;
use crate::world::{Caller, World};

/// How long a load runs before it is measured.
const WARM_UP: Duration = Duration::from_millis(700);

/// What is put on a carrier.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Load {
    /// Calls in flight.
    pub(crate) in_flight: usize,
    /// The size of the answer.
    pub(crate) size: Size,
    /// A method with an effect, behind a marker, instead of one without.
    pub(crate) effect: bool,
}

/// What was measured.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Measured {
    /// Calls answered a second.
    pub(crate) per_second: f64,
    /// The median latency. **Units:** milliseconds.
    pub p50_ms: f64,
    /// The 99th percentile. **Units:** milliseconds.
    pub p99_ms: f64,
    /// Processor time of the whole process for each call. **Units:** microseconds.
    pub(crate) processor_us: f64,
    /// The most memory used. **Units:** bytes.
    pub(crate) peak_bytes: u64,
}

/// Puts a load on the world for `span`.
pub(crate) async fn run(world: &World, load: Load, span: Duration) -> anyhow::Result<Measured> {
    let (counting, stop) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let caller = world.caller();
    let tasks: Vec<_> = (0..load.in_flight)
        .map(|_| tokio::spawn(client(Arc::clone(&caller), load, Arc::clone(&counting), Arc::clone(&stop))))
        .collect();
    tokio::time::sleep(WARM_UP).await;
    system::forget_peak();
    let (began, processor) = (Instant::now(), system::processor_time());
    counting.store(true, Ordering::Release);
    tokio::time::sleep(span).await;
    counting.store(false, Ordering::Release);
    let (took, processor) = (began.elapsed(), system::processor_time() - processor);
    let peak_bytes = system::peak_bytes();
    stop.store(true, Ordering::Release);
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await??);
    }
    if latencies.is_empty() {
        bail!("no call was answered");
    }
    latencies.sort_unstable();
    let count = latencies.len() as f64;
    Ok(Measured {
        per_second: count / took.as_secs_f64(),
        p50_ms: percentile(&latencies, 0.50),
        p99_ms: percentile(&latencies, 0.99),
        processor_us: processor.as_secs_f64() * 1e6 / count,
        peak_bytes,
    })
}

async fn client(
    caller: Arc<Caller>,
    load: Load,
    counting: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
) -> anyhow::Result<Vec<Duration>> {
    let mut latencies = Vec::new();
    let (path, message) = world_call(load);
    while !stop.load(Ordering::Acquire) {
        let id = RequestId::new(random::bytes()).to_string();
        let counted = counting.load(Ordering::Acquire);
        let began = Instant::now();
        let reply = caller.client.call(path, &[("kopuro-request-id", &id)], message.clone(), LIMIT).await;
        let took = began.elapsed();
        let reply = reply.context("a call was not answered")?;
        if let Err(status) = reply.result {
            bail!("a call was refused: {}", status.message);
        }
        if counted && counting.load(Ordering::Acquire) {
            latencies.push(took);
        }
    }
    Ok(latencies)
}

const LIMIT: Duration = Duration::from_secs(30);

fn world_call(load: Load) -> (&'static str, Bytes) {
    if load.effect { crate::world::payment() } else { crate::world::work_periods(load.size) }
}

fn percentile(sorted: &[Duration], share: f64) -> f64 {
    let at = ((sorted.len() - 1) as f64 * share).round() as usize;
    sorted[at].as_secs_f64() * 1e3
}
