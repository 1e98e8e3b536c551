//! What clap does not check by itself: options that may stand before and after a subcommand, and spans of time.

use std::time::Duration;

use clap::error::{Error, ErrorKind};

/// Refuses a command that lacks options, and names them all. clap knows no option that is required and may stand on
/// either side of a subcommand.
pub(super) fn require(missing: &[&str]) -> Result<(), Error> {
    if missing.is_empty() {
        return Ok(());
    }
    Err(self::missing(missing))
}

/// What a command lacks.
pub(super) fn missing(options: &[&str]) -> Error {
    let message = format!("these options are missing: {}\n", options.join(", "));
    Error::raw(ErrorKind::MissingRequiredArgument, message)
}

/// What does not add up to a command.
pub(super) fn fault(told: &str) -> Error {
    Error::raw(ErrorKind::MissingRequiredArgument, format!("{told}\n"))
}

/// A span of time as people write it: `500ms`, `2s`, `1m`, `1h`; a number alone counts seconds.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    let unit_at = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (count, unit) = text.split_at(unit_at);
    let unit_ms = match unit {
        "ms" => 1,
        "s" | "" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("a span of time is written 500ms, 2s, 1m or 1h".to_owned()),
    };
    let millis = count.parse::<u64>().ok().and_then(|count| count.checked_mul(unit_ms));
    let millis = millis.filter(|millis| (1..=SPAN_MS_MAX).contains(millis));
    millis.map(Duration::from_millis).ok_or_else(|| "a span of time is between 1ms and 24h".to_owned())
}

const SPAN_MS_MAX: u64 = 24 * 3_600_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_people_write_them() {
        for (text, millis) in
            [("1ms", 1), ("500ms", 500), ("2s", 2_000), ("30", 30_000), ("1m", 60_000), ("24h", 86_400_000)]
        {
            assert_eq!(span(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "0", "0ms", "-1s", "1.5s", "1 s", "1d", "25h", "99999999999999999999s", "1sm"] {
            assert!(span(text).is_err(), "{text}");
        }
    }
}
