//! How long a call waits before its caller is told that no outcome has come.

use std::time::Duration;

/// What the answer may take on its way to the caller.
const WAY_BACK: Duration = Duration::from_millis(100);
/// The part of a timeout by which a caller may have told a longer one than its own timer runs. gRPC's C core, under Python,
/// C++, Ruby and PHP, rounds `grpc-timeout` up by as much as a hundredth, and sends that of an earlier call on the
/// connection when it is longer by no more than three. **Source:** measured with grpcio 1.85, whose timer of 19.5 s was told
/// as 20.1 s after a call of 20 s.
const TOLD_TOO_LONG: u32 = 25;

/// How long the outcome of a call is waited for that has `timeout` left: a little less, so that the bus's own answer, which
/// tells what is known of the request's acceptance, comes before the caller's own timer ends the call without one. Of short
/// timeouts a tenth is kept back.
pub(super) fn patience(timeout: Duration) -> Duration {
    timeout - (WAY_BACK + timeout / TOLD_TOO_LONG).min(timeout / 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_comes_before_the_callers_own_timer() {
        // What gRPC's C core told, and what its timer ran for: measured, milliseconds.
        let measured = [
            (2_010, 2_000),
            (2_000, 1_950),
            (20_100, 20_000),
            (20_100, 19_450),
            (30_100, 29_200),
            (601_000, 599_000),
        ];
        for (told, own) in measured {
            let (told, own) = (Duration::from_millis(told), Duration::from_millis(own));
            assert!(patience(told) + WAY_BACK <= own, "{told:?} told, {own:?} meant: {:?}", patience(told));
        }
    }

    #[test]
    fn a_short_timeout_is_spent_on_waiting_for_the_most_part() {
        for millis in [0, 1, 10, 100, 1_000] {
            let timeout = Duration::from_millis(millis);
            assert_eq!(patience(timeout), timeout - timeout / 10, "{timeout:?}");
        }
    }
}
