//! What the operating system knows of this process and machine.

use std::fs;
use std::time::Duration;

use serde::Serialize;

/// The clock ticks a second that `/proc` counts processor time in; the kernel's user interface fixes it.
const TICKS_PER_SECOND: u64 = 100;

/// The machine.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    /// Processors.
    pub(crate) processors: usize,
    /// Their model.
    pub(crate) model: String,
    /// Memory. **Units:** bytes.
    pub(crate) memory_bytes: u64,
}

/// The machine that this runs on.
pub(crate) fn describe() -> Machine {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown");
    Machine {
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        model: model.trim_start_matches([' ', '\t', ':']).to_owned(),
        memory_bytes: kilobytes("/proc/meminfo", "MemTotal:") * 1024,
    }
}

/// Processor time that this process has used.
pub(crate) fn processor_time() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Fields 14 and 15 (proc(5)), counted after the command's name, which may hold spaces.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 =
        fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND)
}

/// Memory of this process in use. **Units:** bytes.
pub(crate) fn resident_bytes() -> u64 {
    kilobytes("/proc/self/status", "VmRSS:") * 1024
}

/// The most memory that this process has used since [`forget_peak`]. **Units:** bytes.
pub(crate) fn peak_bytes() -> u64 {
    kilobytes("/proc/self/status", "VmHWM:") * 1024
}

/// Begins a new peak.
pub(crate) fn forget_peak() {
    // Not every kernel allows it; the peak is then that of the whole run.
    let _ = fs::write("/proc/self/clear_refs", "5");
}

fn kilobytes(file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    value.and_then(|value| value.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
