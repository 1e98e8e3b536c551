//! Ports that the system chose, written into the configuration in place of 0.
//!
//! A port is chosen by listening on it, never before: between choosing a free port and listening on it, another process
//! may take it.

use std::net::SocketAddr;
use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;

use crate::process::Process;

/// What listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place<'a> {
    /// The registry service.
    Registry,
    /// The gateway of this name, for systems.
    Gateway(&'a str),
    /// The gateway of this name, for operators.
    Operations(&'a str),
}

/// The addresses of a configuration, with where in the text they stand.
#[derive(Deserialize)]
struct Addresses {
    registry: Option<Registry>,
    #[serde(default)]
    gateway: Vec<Gateway>,
}

#[derive(Deserialize)]
struct Registry {
    listen: Spanned<SocketAddr>,
}

#[derive(Deserialize)]
struct Gateway {
    id: String,
    listen: Spanned<SocketAddr>,
    operations: Option<Spanned<SocketAddr>>,
}

/// The configuration `text` with what `bound` tells in place of every address whose port is 0.
pub(super) fn keep(
    text: &str,
    bound: impl Fn(Place<'_>) -> Option<SocketAddr>,
) -> Result<String, toml::de::Error> {
    let addresses: Addresses = toml::from_str(text)?;
    let mut chosen: Vec<(Range<usize>, SocketAddr)> = addresses
        .places()
        .filter(|(_, address)| address.get_ref().port() == 0)
        .filter_map(|(place, address)| Some((address.span(), bound(place)?)))
        .collect();
    chosen.sort_unstable_by_key(|(at, _)| at.start);
    let mut kept = text.to_owned();
    for (at, address) in chosen.into_iter().rev() {
        kept.replace_range(at, &format!("\"{address}\""));
    }
    Ok(kept)
}

/// Where a process listens.
pub(super) fn of(process: &Process, place: Place<'_>) -> Option<SocketAddr> {
    match place {
        Place::Registry => process.registry(),
        Place::Gateway(id) => process.gateway(id),
        Place::Operations(id) => process.operations(id),
    }
}

impl Addresses {
    fn places(&self) -> impl Iterator<Item = (Place<'_>, &Spanned<SocketAddr>)> {
        let registry = self.registry.iter().map(|registry| (Place::Registry, &registry.listen));
        registry.chain(self.gateway.iter().flat_map(|gateway| {
            let Gateway { id, listen, operations } = gateway;
            let operations = operations.iter().map(|address| (Place::Operations(id), address));
            operations.chain([(Place::Gateway(id), listen)])
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# kept
[registry]
listen = "127.0.0.1:0"   # any

[[gateway]]
operations = '127.0.0.1:0'
id = "one"
listen = "127.0.0.1:8443"

[[gateway]]
id = "two"
listen = "0.0.0.0:0"
"#;

    fn bound(place: Place<'_>) -> Option<SocketAddr> {
        let address = match place {
            Place::Registry => "127.0.0.1:7001",
            Place::Operations("one") => "127.0.0.1:7002",
            Place::Gateway("two") => "0.0.0.0:7003",
            other => panic!("{other:?} has a port"),
        };
        Some(address.parse().unwrap())
    }

    #[test]
    fn a_chosen_port_stands_where_none_was_named() {
        let expected = TEXT
            .replace("\"127.0.0.1:0\"", "\"127.0.0.1:7001\"")
            .replace("'127.0.0.1:0'", "\"127.0.0.1:7002\"")
            .replace("0.0.0.0:0", "0.0.0.0:7003");
        let kept = keep(TEXT, bound).unwrap();
        assert_eq!(kept, expected);
        assert_eq!(keep(&kept, |place| panic!("{place:?} has a port")).unwrap(), expected);
    }

    #[test]
    fn what_does_not_listen_keeps_its_zero() {
        assert_eq!(keep(TEXT, |_| None).unwrap(), TEXT);
    }
}
