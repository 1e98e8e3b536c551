//! The contract that both brokers keep: each case runs against the embedded broker and against a real Kafka.
//!
//! The Kafka half needs a broker's address in `KOPURO_TEST_KAFKA` (`deploy/kafka/kafka start` prints one). Without it
//! each Kafka case names itself as skipped on standard error; under `CI=true` it fails instead.

#![allow(clippy::unwrap_used, reason = "what a case does not expect is its failure")]

mod contract {
    mod appending;
    mod crash;
    mod embedded_only;
    mod fixture;
    mod grouping;
    mod kafka_only;
    mod model;
    mod raw_produce;
    mod suite;
    mod tailing;
    mod topics;
}
