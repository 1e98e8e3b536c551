//! The members' own systems, called with what the bus brings.
//!
//! The metadata of a dispatched call is made here from what was verified. Nothing that a consumer's system wrote as
//! metadata can reach a provider's system otherwise, so a `kopuro-` entry there is always the gateway's word.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use http::{HeaderMap, HeaderName, HeaderValue};
use kopuro_core::content::Context;
use kopuro_core::id::SubsystemId;
use kopuro_core::time::Clock;
use kopuro_exchange::dispatch::{Dispatch, Dispatched, Dispatcher};
use kopuro_registry::views::Views;
use kopuro_rpc::channel::{Answer, Channel, ChannelSettings, Endpoint, EndpointError, Outcome, Security};
use kopuro_telemetry::trace;
use rustls::ClientConfig;

use crate::callers::RegisteredServers;
use crate::edge::metadata::{
    CLIENT, EXCHANGE_ID, ISSUE, PROVIDER, PURPOSE, REPRESENTED_PARTY, REQUEST_DIGEST, REQUEST_ID, USER_ID,
};

/// Channels to the members' systems.
pub(crate) struct Systems {
    channels: HashMap<SubsystemId, Channel>,
    clock: Arc<dyn Clock>,
}

/// How systems are reached and recognized.
pub(crate) struct Reach {
    pub(crate) tls: Arc<ClientConfig>,
    pub(crate) views: Arc<Views>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) settings: ChannelSettings,
}

impl Systems {
    /// Channels to `endpoints`. Nothing is connected before the first call.
    pub(crate) fn new(
        endpoints: HashMap<SubsystemId, Endpoint>,
        reach: &Reach,
    ) -> Result<Arc<Self>, EndpointError> {
        let channel = |(subsystem, endpoint): (SubsystemId, Endpoint)| {
            let security = reach.security(&subsystem, &endpoint);
            Channel::new(endpoint, security, reach.settings).map(|channel| (subsystem, channel))
        };
        let channels = endpoints.into_iter().map(channel).collect::<Result<_, _>>()?;
        Ok(Arc::new(Self { channels, clock: Arc::clone(&reach.clock) }))
    }
}

impl Reach {
    fn security(&self, subsystem: &SubsystemId, endpoint: &Endpoint) -> Security {
        match endpoint {
            Endpoint::Plain { .. } => Security::Plain,
            Endpoint::Tls { .. } => {
                let (views, clock) = (Arc::clone(&self.views), Arc::clone(&self.clock));
                let servers = RegisteredServers { views, clock, subsystem: subsystem.clone() };
                Security::Mutual { config: Arc::clone(&self.tls), servers: Arc::new(servers) }
            }
        }
    }
}

#[async_trait]
impl Dispatcher for Systems {
    async fn dispatch(&self, request: Dispatch) -> Dispatched {
        let Some(channel) = self.channels.get(&request.provider) else { return Dispatched::Unreachable };
        let now = self.clock.now();
        let (begin, left) = (request.not_after.since(now), request.expire_time.since(now));
        if begin == Duration::ZERO || left == Duration::ZERO {
            return Dispatched::Unreachable;
        }
        let (path, metadata) = (request.method.path(), metadata(&request));
        match channel.unary_beginning(&path, metadata, request.message, left, begin).await {
            Outcome::Answered(Answer::Message(message, _)) => Dispatched::Message(message),
            Outcome::Answered(Answer::Status(status, _)) => Dispatched::Status(status),
            Outcome::NotSent => Dispatched::Unreachable,
            Outcome::TimedOut => Dispatched::TimedOut,
            Outcome::Broken => Dispatched::Broken,
            Outcome::TooLarge => Dispatched::TooLarge,
        }
    }
}

fn metadata(request: &Dispatch) -> HeaderMap {
    let Dispatch { exchange, request: id, consumer, provider, context, request_digest, .. } = request;
    let Context { user_id, issue, purpose, represented_party, metadata: _ } = context;
    let mut headers = HeaderMap::with_capacity(16);
    let own = [
        (CLIENT, consumer.to_string()),
        (PROVIDER, provider.to_string()),
        (EXCHANGE_ID, exchange.to_string()),
        (REQUEST_ID, id.to_string()),
        (REQUEST_DIGEST, request_digest.to_string()),
    ];
    for (name, value) in own {
        let value = HeaderValue::try_from(value).expect("identifiers and digests are header values");
        headers.insert(HeaderName::from_static(name), value);
    }
    let texts =
        [(USER_ID, user_id), (ISSUE, issue), (PURPOSE, purpose), (REPRESENTED_PARTY, represented_party)];
    for (name, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        insert_text(&mut headers, name, text);
    }
    if let Some(value) = trace::traceparent().and_then(|text| HeaderValue::try_from(text).ok()) {
        headers.insert(HeaderName::from_static(trace::TRACEPARENT), value);
    }
    headers
}

/// Writes a text as it is when it is printable ASCII, and otherwise under its `-bin` name.
fn insert_text(headers: &mut HeaderMap, name: &'static str, text: &str) {
    let plain = text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) && text.trim() == text;
    let (name, value) = if plain {
        (HeaderName::from_static(name), HeaderValue::try_from(text))
    } else {
        let name = HeaderName::try_from(format!("{name}-bin")).expect("the names are header names");
        (name, HeaderValue::try_from(STANDARD_NO_PAD.encode(text)))
    };
    headers.insert(name, value.expect("printable ASCII and base64 are header values"));
}

#[cfg(test)]
mod tests {
    use kopuro_core::digest::Digest;
    use kopuro_core::id::{ExchangeId, MethodId, RequestId};
    use kopuro_core::time::UnixMillis;

    use super::*;

    #[test]
    fn a_dispatched_call_says_who_asks_and_why() {
        let request = Dispatch {
            exchange: ExchangeId::new(UnixMillis::new(5), [1; 10]),
            request: RequestId::new([2; 16]),
            consumer: SubsystemId::parse("KG/GOV/70000005/portal").unwrap(),
            provider: SubsystemId::parse("KG/GOV/60000002/pensions").unwrap(),
            method: MethodId::parse_path("/kg.socialfund.v1.PensionService/GetPensionInfo").unwrap(),
            context: Context {
                user_id: "21203199012345".into(),
                purpose: "назначение пенсии".into(),
                ..Context::default()
            },
            message: bytes::Bytes::new(),
            request_digest: Digest::of(b"request"),
            not_after: UnixMillis::new(10),
            expire_time: UnixMillis::new(10),
        };
        let headers = metadata(&request);
        assert_eq!(headers[CLIENT], "KG/GOV/70000005/portal");
        assert_eq!(headers[PROVIDER], "KG/GOV/60000002/pensions");
        assert_eq!(headers[REQUEST_DIGEST], Digest::of(b"request").to_string());
        assert_eq!(headers[USER_ID], "21203199012345");
        let purpose = headers["kopuro-purpose-bin"].to_str().unwrap();
        assert_eq!(STANDARD_NO_PAD.decode(purpose).unwrap(), "назначение пенсии".as_bytes());
        assert!(!headers.contains_key(PURPOSE) && !headers.contains_key(ISSUE));
    }
}
