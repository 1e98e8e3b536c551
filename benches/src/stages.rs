//! Where the time goes: each stage by itself, and as the gateways saw it under load.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

use kopuro_core::digest::Digest;
use kopuro_core::envelope::{PayloadType, pre_authentication_encoding};
use kopuro_core::id::MethodId;
use kopuro_core::time::UnixMillis;
use kopuro_proto::examples::kg::socialfund::v1 as fund;
use kopuro_schema::{Contract, Direction};
use kopuro_trust::pki::NewKey;
use kopuro_trust::sealing::{self, EpochOpener, EpochSealer, EpochSealerLimits, SealingKey};
use kopuro_trust::signing::{SignatureAlgorithm, Signer};
use prost::Message as _;
use serde::Serialize;

use crate::sizes::Size;

/// How often a stage is repeated.
const ROUNDS: u32 = 20_000;

/// A stage by itself.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Stage {
    /// Its name.
    pub(crate) name: &'static str,
    /// The mean. **Units:** microseconds.
    pub(crate) mean_us: f64,
}

/// A stage as the gateways saw it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct InSitu {
    /// Its name.
    pub(crate) name: String,
    /// The mean over all loads. **Units:** microseconds.
    pub(crate) mean_us: f64,
    /// How often it ran.
    pub(crate) count: u64,
}

/// Measures each stage on a message of 1 KB, on one processor.
pub(crate) fn measure() -> Vec<Stage> {
    let message = Size::OneKilobyte.answer().encode_to_vec();
    let contract = Contract::load(fund::FILE_DESCRIPTOR_SET).expect("the example contract is valid");
    let path = "/kg.socialfund.v1.PersonalAccountService/GetWorkPeriodInfo";
    let method = contract.method(&MethodId::parse_path(path).expect("a path")).expect("the contract has it");
    let signer = signer();
    let signed = pre_authentication_encoding(PayloadType::Statement, &[7; 600]);
    let (signature, verifying) = (signer.sign(&signed), signer.verifying_key());
    let sealing = SealingKey::from_pkcs8_der(NewKey::sealing().pkcs8_der()).expect("a generated key");
    let (sealer, public) = (EpochSealer::new(EpochSealerLimits::default()), sealing.public().clone());
    let opener = EpochOpener::new([sealing], 16);
    let (now, digest) = (UnixMillis::new(1), Digest::of(b"statement"));
    let (key, ciphertext) = sealing::seal_content(&message);
    let wrap = sealer.wrap(now, &public, &key, &digest).expect("an epoch begins");
    vec![
        stage("scan", || method.scan(Direction::Response, black_box(&message)).expect("the answer is valid")),
        stage("scan and rules", || {
            black_box(method.validate(Direction::Response, black_box(&message), now))
                .expect("the answer is valid");
        }),
        stage("sign", || drop(black_box(signer.sign(black_box(&signed))))),
        stage("verify", || verifying.verify(black_box(&signed), &signature).expect("the signature is good")),
        stage("seal content", || drop(black_box(sealing::seal_content(black_box(&message))))),
        stage("open content", || drop(black_box(sealing::open_content(&key, black_box(&ciphertext))))),
        stage("wrap key, epoch known", || drop(black_box(sealer.wrap(now, &public, &key, &digest)))),
        stage("unwrap key, epoch known", || drop(black_box(opener.unwrap(black_box(&wrap), &digest)))),
        stage("digest", || _ = black_box(Digest::of(black_box(&ciphertext)))),
    ]
}

/// The mean of each stage over every gateway, from a process's metrics.
pub(crate) fn in_situ(metrics: &str) -> Vec<InSitu> {
    let (sums, counts) = (values(metrics, "_sum"), values(metrics, "_count"));
    let stage = |(name, sum): (&String, &f64)| {
        let count = counts.get(name).copied().unwrap_or(0.0);
        InSitu { name: name.clone(), mean_us: sum / count.max(1.0) * 1e6, count: count as u64 }
    };
    sums.iter().map(stage).collect()
}

fn values(metrics: &str, kind: &str) -> BTreeMap<String, f64> {
    let prefix = format!("kopuro_exchange_stage_seconds{kind}{{");
    let read = |line: &str| {
        let (labels, value) = line.strip_prefix(&prefix)?.split_once("} ")?;
        let (_, name) = labels.split_once("stage=\"")?;
        Some((name.trim_end_matches('"').to_owned(), value.parse::<f64>().ok()?))
    };
    let mut values = BTreeMap::new();
    for (name, value) in metrics.lines().filter_map(read) {
        *values.entry(name).or_default() += value;
    }
    values
}

fn stage(name: &'static str, mut run: impl FnMut()) -> Stage {
    for _ in 0..ROUNDS / 10 {
        run();
    }
    let began = Instant::now();
    for _ in 0..ROUNDS {
        run();
    }
    Stage { name, mean_us: began.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS) }
}

fn signer() -> Signer {
    let key = NewKey::signing(SignatureAlgorithm::EcdsaP256Sha256);
    Signer::from_pkcs8_der(key.pkcs8_der()).expect("a generated key")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kopuro_telemetry::metrics;

    use super::*;

    #[test]
    fn a_stage_is_the_mean_over_every_gateway() {
        let told = metrics::Metrics::new();
        for (gateway, micros) in [("gw-portal", 10), ("gw-social-fund", 30)] {
            let stage = metrics::Stage::Seal;
            told.of_gateway(gateway).stage(stage, Duration::from_micros(micros));
        }
        let [InSitu { name, mean_us, count }] = &in_situ(&told.encode())[..] else { panic!("one stage") };
        assert_eq!((name.as_str(), mean_us.round() as u64, *count), ("seal", 20, 2));
    }
}
