//! What the broker's operator and the bus's own operators can read: never what a person asked or was told.
//!
//! Words are planted wherever content goes in, good calls and bad ones, and searched for in every byte that comes to rest.

mod planted;

use std::collections::BTreeSet;
use std::path::Path;

use crate::bus::stored_bytes;
use crate::command::Up;
use crate::kafka::Kafka;
use crate::node::{client, http_get};
use planted::{Planted, Register, WORDS, call_all};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_planted_is_kept_by_the_embedded_broker() {
    let mut up = started(None).await;
    let planted = told(&mut up).await;
    let data = up.data();
    nothing_in("the embedded log", &data, &planted);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_planted_is_kept_by_kafka() {
    let Some(kafka) = Kafka::start("secrecy on Kafka").await else { return };
    let mut up = started(Some(kafka.address.clone())).await;
    let planted = told(&mut up).await;
    nothing_in("Kafka's folder", kafka.at_rest().await, &planted);
}

async fn started(kafka: Option<String>) -> Up {
    let mut up =
        Up::create([("pensions", Register.pensions()), ("violations", Register.violations())], kafka).await;
    up.start().await;
    up
}

/// Makes calls with everything planted, checks what operators were told meanwhile, and ends the process.
async fn told(up: &mut Up) -> Planted {
    let portal = client(&up.development, "portal", up.gateway("gw-portal"));
    let planted = call_all(&portal).await;
    drop(portal);
    for gateway in up.gateways() {
        let metrics = http_get(up.operations(gateway), "/metrics").await.unwrap();
        assert!(metrics.contains("kopuro_exchange_refusals_total"), "{metrics}");
        nothing_planted("the metrics", metrics.as_bytes());
    }
    up.terminate().await;
    assert_eq!(up.ended().await.code(), Some(0), "{}", up.logged());
    let logged = up.logged();
    nothing_planted("the log", logged.as_bytes());
    assert!(logged.contains(&planted.refused), "the log does not tell of the refusals");
    planted
}

fn nothing_in(what: &str, folder: &Path, planted: &Planted) {
    let bytes = stored_bytes(folder);
    nothing_planted(what, &bytes);
    // What is in the clear beside the sealed content is found, so the search can find.
    let known = ["KG/GOV/70000001/portal", "kg.socialfund.v1.PensionService", &planted.refused];
    let found = found(&bytes, known.map(Into::into));
    assert_eq!(found.len(), known.len(), "{what} of {} bytes has only {found:?}", bytes.len());
}

fn nothing_planted(what: &str, bytes: &[u8]) {
    let forms = WORDS.iter().flat_map(|word| [(*word).to_owned(), word.to_lowercase(), hex::encode(word)]);
    let found = found(bytes, forms);
    assert!(found.is_empty(), "{what} holds {found:?}");
}

/// Which of the words stand in `bytes`; one pass for all of them.
fn found(bytes: &[u8], words: impl IntoIterator<Item = String>) -> BTreeSet<String> {
    let mut by_first: Vec<Vec<String>> = vec![Vec::new(); 256];
    for word in words {
        by_first[usize::from(word.as_bytes()[0])].push(word);
    }
    let mut found = BTreeSet::new();
    for (at, byte) in bytes.iter().enumerate() {
        for word in &by_first[usize::from(*byte)] {
            if bytes[at..].starts_with(word.as_bytes()) {
                found.insert(word.clone());
            }
        }
    }
    found
}
