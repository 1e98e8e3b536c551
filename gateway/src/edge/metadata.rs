//! What a caller says beside its message, in `kopuro-` metadata.
//!
//! Each entry stands there at most once. Identifiers are ASCII. Texts are printable ASCII under their own name, or any
//! UTF-8 without control characters under the name with `-bin`, as gRPC encodes it (base64); not both. An entry of the
//! `kopuro-` name space that is not in this list is refused: it is a misspelling, or an attempt to pass for a gateway.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::{HeaderMap, HeaderValue};
use kopuro_core::content::Context;
use kopuro_core::error::{Reason, Refusal};
use kopuro_core::id::{IdError, RequestId, SubsystemId};

/// The calling subsystem.
pub(crate) const CLIENT: &str = "kopuro-client";
/// The subsystem that is to answer.
pub(crate) const PROVIDER: &str = "kopuro-provider";
/// The caller's idempotency key.
pub(crate) const REQUEST_ID: &str = "kopuro-request-id";
/// The person at whose wish the call is made.
pub(crate) const USER_ID: &str = "kopuro-user-id";
/// The case that the call belongs to.
pub(crate) const ISSUE: &str = "kopuro-issue";
/// The purpose of processing.
pub(crate) const PURPOSE: &str = "kopuro-purpose";
/// On whose behalf the consumer acts.
pub(crate) const REPRESENTED_PARTY: &str = "kopuro-represented-party";
/// The exchange, set by gateways.
pub(crate) const EXCHANGE_ID: &str = "kopuro-exchange-id";
/// The statement digest of the request, set by gateways.
pub(crate) const REQUEST_DIGEST: &str = "kopuro-request-digest";
/// The statement digest of the request that had the effect, set by gateways.
pub(crate) const EFFECT_REQUEST_DIGEST: &str = "kopuro-effect-request-digest";
/// The statement digest of the outcome, set by gateways.
pub(crate) const RESPONSE_DIGEST: &str = "kopuro-response-digest";

/// What every name of the bus begins with.
const PREFIX: &str = "kopuro-";
const BINARY_SUFFIX: &str = "-bin";
/// The longest name that is repeated in a refusal. **Units:** bytes.
const NAME_LEN_MAX: usize = 64;

/// Base64 with or without padding, as gRPC takes it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A caller's metadata.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct CallMetadata {
    pub(crate) client: Option<SubsystemId>,
    pub(crate) provider: Option<SubsystemId>,
    pub(crate) request: Option<RequestId>,
    pub(crate) context: Context,
}

impl CallMetadata {
    /// Reads a request's metadata.
    ///
    /// # Errors
    /// [`Reason::MetadataInvalid`]; the detail names the entry and never repeats its value.
    pub(crate) fn read(headers: &HeaderMap) -> Result<Self, Refusal> {
        let mut read = Self::default();
        let ours = headers.keys().filter(|name| name.as_str().starts_with(PREFIX));
        for name in ours.map(http::HeaderName::as_str) {
            let mut values = headers.get_all(name).iter();
            let (Some(value), None) = (values.next(), values.next()) else {
                return Err(invalid(name, "it stands there twice"));
            };
            read.set(name, value, headers)?;
            if !read.context.fits() {
                return Err(invalid(name, "it is too long"));
            }
        }
        Ok(read)
    }

    fn set(&mut self, name: &str, value: &HeaderValue, headers: &HeaderMap) -> Result<(), Refusal> {
        let Context { user_id, issue, purpose, represented_party, metadata: _ } = &mut self.context;
        let base = name.strip_suffix(BINARY_SUFFIX);
        let text = match base.unwrap_or(name) {
            CLIENT if base.is_none() => return set_id(&mut self.client, name, value, SubsystemId::parse),
            PROVIDER if base.is_none() => return set_id(&mut self.provider, name, value, SubsystemId::parse),
            REQUEST_ID if base.is_none() => return set_id(&mut self.request, name, value, RequestId::parse),
            USER_ID => user_id,
            ISSUE => issue,
            PURPOSE => purpose,
            REPRESENTED_PARTY => represented_party,
            _ => return Err(invalid(name, "it is no entry of a call")),
        };
        *text = match base {
            None => plain(value).ok_or_else(|| invalid(name, "it must be printable ASCII"))?.to_owned(),
            Some(base) if headers.contains_key(base) => return Err(invalid(name, "it stands there twice")),
            Some(_) => {
                binary(value).ok_or_else(|| invalid(name, "it must be base64 of UTF-8 without controls"))?
            }
        };
        Ok(())
    }
}

fn set_id<T>(
    id: &mut Option<T>,
    name: &str,
    value: &HeaderValue,
    parse: impl Fn(&str) -> Result<T, IdError>,
) -> Result<(), Refusal> {
    let text = plain(value).ok_or_else(|| invalid(name, "it must be printable ASCII"))?;
    *id = Some(parse(text).map_err(|error| invalid(name, error.rule))?);
    Ok(())
}

fn plain(value: &HeaderValue) -> Option<&str> {
    let printable = value.as_bytes().iter().all(|byte| (0x20..0x7f).contains(byte));
    std::str::from_utf8(value.as_bytes()).ok().filter(|_| printable)
}

fn binary(value: &HeaderValue) -> Option<String> {
    let text = String::from_utf8(BASE64.decode(value.as_bytes()).ok()?).ok()?;
    (!text.chars().any(char::is_control)).then_some(text)
}

fn invalid(name: &str, rule: &str) -> Refusal {
    // Names of headers are ASCII.
    Refusal::with(Reason::MetadataInvalid, format_args!("{}: {rule}", &name[..name.len().min(NAME_LEN_MAX)]))
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn headers(entries: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in entries {
            headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    #[test]
    fn every_entry_is_read() {
        let read = CallMetadata::read(&headers(&[
            (CLIENT, "KG/GOV/70000005/portal"),
            (PROVIDER, "KG/GOV/60000002/pensions"),
            (REQUEST_ID, "6f1c3c1e-8f6b-4d59-9d0e-9d3f6d8f2a10"),
            (USER_ID, "21203199012345"),
            (ISSUE, "case 17/2026"),
            ("kopuro-purpose-bin", "0L/QtdC90YHQuNGP"),
            (REPRESENTED_PARTY, ""),
            ("traceparent", "anything"),
            ("user-agent", "grpc-python"),
        ]))
        .unwrap();
        assert_eq!(read.client.unwrap().as_str(), "KG/GOV/70000005/portal");
        assert_eq!(read.provider.unwrap().as_str(), "KG/GOV/60000002/pensions");
        assert_eq!(read.request.unwrap().to_string(), "6f1c3c1e-8f6b-4d59-9d0e-9d3f6d8f2a10");
        let Context { user_id, issue, purpose, represented_party, metadata } = read.context;
        assert_eq!((user_id.as_str(), issue.as_str()), ("21203199012345", "case 17/2026"));
        assert_eq!((purpose.as_str(), represented_party.as_str(), metadata.len()), ("пенсия", "", 0));
        assert_eq!(CallMetadata::read(&HeaderMap::new()), Ok(CallMetadata::default()));
    }

    #[test]
    fn what_is_malformed_is_refused_by_name() {
        let long = "x".repeat(257);
        let table: &[(&[(&'static str, &str)], &str)] = &[
            (&[(CLIENT, "portal")], CLIENT),
            (&[(CLIENT, "")], CLIENT),
            (&[(CLIENT, "KG/GOV/70000005/портал")], CLIENT),
            (&[("kopuro-client-bin", "S0c=")], "kopuro-client-bin"),
            (&[(PROVIDER, "KG/GOV/60000002")], PROVIDER),
            (&[(REQUEST_ID, "17")], REQUEST_ID),
            (&[(REQUEST_ID, "00000000-0000-0000-0000-000000000000")], REQUEST_ID),
            (&[(USER_ID, "1"), (USER_ID, "1")], USER_ID),
            (&[(USER_ID, "1"), ("kopuro-user-id-bin", "MQ")], "kopuro-user-id-bin"),
            (&[(PURPOSE, "пенсия")], PURPOSE),
            (&[("kopuro-purpose-bin", "!")], "kopuro-purpose-bin"),
            (&[("kopuro-purpose-bin", "/w==")], "kopuro-purpose-bin"),
            (&[("kopuro-purpose-bin", "Cg==")], "kopuro-purpose-bin"),
            (&[(ISSUE, &long)], "too long"),
            (&[(EXCHANGE_ID, "x")], EXCHANGE_ID),
            (&[("kopuro-", "x")], "kopuro-"),
            (&[("kopuro-request-digest", "x")], "kopuro-request-digest"),
        ];
        for (entries, named) in table {
            let refusal = CallMetadata::read(&headers(entries)).unwrap_err();
            assert_eq!(refusal.reason, Reason::MetadataInvalid, "{entries:?}");
            assert!(refusal.detail.contains(named), "{:?} for {entries:?}", refusal.detail);
        }
    }
}
