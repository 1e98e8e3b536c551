//! Deadlines as gRPC writes them: `grpc-timeout`, a positive number of at most eight digits and a unit.
//!
//! **Source:** gRPC over HTTP/2, "Requests", `Timeout`.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use kopuro_core::error::{Reason, Refusal};

/// The name of the header.
pub const GRPC_TIMEOUT: &str = "grpc-timeout";
/// The most digits of a timeout.
const DIGITS_MAX: usize = 8;
const DIGITS_END: u128 = 100_000_000;

/// How long the caller waits; `None` when it does not say. A timeout of zero has passed already.
///
/// # Errors
/// [`Reason::FramingInvalid`] when the header is malformed or stands there twice.
pub fn read(headers: &HeaderMap) -> Result<Option<Duration>, Refusal> {
    let malformed = || Refusal::with(Reason::FramingInvalid, "grpc-timeout is malformed");
    let mut values = headers.get_all(GRPC_TIMEOUT).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(malformed());
    }
    parse(value.as_bytes()).map(Some).ok_or_else(malformed)
}

/// Writes a timeout in the finest unit that can hold it, rounded down: a deadline never grows on its way.
pub fn write(timeout: Duration) -> HeaderValue {
    let in_units = [
        (timeout.as_nanos(), 'n'),
        (timeout.as_micros(), 'u'),
        (timeout.as_millis(), 'm'),
        (u128::from(timeout.as_secs()), 'S'),
    ];
    let (amount, unit) =
        in_units.into_iter().find(|(amount, _)| *amount < DIGITS_END).unwrap_or((DIGITS_END - 1, 'S'));
    HeaderValue::try_from(format!("{amount}{unit}")).expect("digits and a letter are a header value")
}

fn parse(text: &[u8]) -> Option<Duration> {
    let (unit, digits) = text.split_last()?;
    if digits.is_empty() || digits.len() > DIGITS_MAX || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let amount = digits.iter().fold(0, |amount, digit| amount * 10 + u64::from(digit - b'0'));
    match unit {
        b'H' => Some(Duration::from_secs(amount * 3600)),
        b'M' => Some(Duration::from_secs(amount * 60)),
        b'S' => Some(Duration::from_secs(amount)),
        b'm' => Some(Duration::from_millis(amount)),
        b'u' => Some(Duration::from_micros(amount)),
        b'n' => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_one(text: &'static str) -> Result<Option<Duration>, Refusal> {
        read(&HeaderMap::from_iter([(GRPC_TIMEOUT.parse().unwrap(), HeaderValue::from_static(text))]))
    }

    #[test]
    fn every_unit_is_read() {
        let table = [
            ("1H", Duration::from_secs(3600)),
            ("2M", Duration::from_secs(120)),
            ("3S", Duration::from_secs(3)),
            ("4m", Duration::from_millis(4)),
            ("5u", Duration::from_micros(5)),
            ("6n", Duration::from_nanos(6)),
            ("0n", Duration::ZERO),
            ("00000007m", Duration::from_millis(7)),
            ("99999999H", Duration::from_secs(99_999_999 * 3600)),
        ];
        for (text, span) in table {
            assert_eq!(read_one(text), Ok(Some(span)), "{text}");
        }
        assert_eq!(read(&HeaderMap::new()), Ok(None));
    }

    #[test]
    fn what_is_no_timeout_is_refused() {
        for text in
            ["", "S", "1", "123456789S", "-1S", "+1S", "1s", "1 S", " 1S", "1.5S", "0x1S", "1SS", "\u{661}S"]
        {
            let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) else {
                panic!("{text:?} is no header value")
            };
            let headers = HeaderMap::from_iter([(GRPC_TIMEOUT.parse().unwrap(), value)]);
            assert_eq!(read(&headers).unwrap_err().reason, Reason::FramingInvalid, "{text:?} was accepted");
        }
    }

    #[test]
    fn two_timeouts_are_refused() {
        let mut headers = HeaderMap::new();
        headers.append(GRPC_TIMEOUT, HeaderValue::from_static("1S"));
        headers.append(GRPC_TIMEOUT, HeaderValue::from_static("1S"));
        assert_eq!(read(&headers).unwrap_err().reason, Reason::FramingInvalid);
    }

    proptest::proptest! {
        #[test]
        fn a_timeout_never_grows_and_keeps_its_head(nanos in 0u64..99_999_999_000_000_000) {
            let timeout = Duration::from_nanos(nanos);
            let written = HeaderMap::from_iter([(GRPC_TIMEOUT.parse().unwrap(), write(timeout))]);
            let back = read(&written).unwrap().unwrap();
            proptest::prop_assert!(back <= timeout);
            proptest::prop_assert!(timeout - back <= timeout / 90_000, "{timeout:?} became {back:?}");
        }
    }
}
