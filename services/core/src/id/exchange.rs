//! Names of one exchange and of one intended effect.

use std::fmt;

use uuid::Uuid;

use super::IdError;
use crate::time::UnixMillis;

/// The length of a UUID. **Units:** bytes.
const UUID_LEN: usize = 16;

/// One request and its outcome, for people to quote. It is a UUIDv7 (RFC 9562, section 5.7), so ids sort by time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExchangeId(Uuid);

impl ExchangeId {
    /// Makes an id for an exchange that begins at `now`, from ten random bytes.
    pub fn new(now: UnixMillis, random: [u8; 10]) -> Self {
        Self(uuid::Builder::from_unix_timestamp_millis(now.as_u64(), &random).into_uuid())
    }

    /// Reads the hyphenated lower-case form.
    ///
    /// # Errors
    /// [`IdError`] when the text is not a UUIDv7 in that form.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        parse_uuid("exchange id", text).and_then(Self::from_uuid)
    }

    /// Reads 16 bytes from the wire.
    ///
    /// # Errors
    /// [`IdError`] when they are not a UUIDv7.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, IdError> {
        uuid_from_slice("exchange id", bytes).and_then(Self::from_uuid)
    }

    /// The id's 16 bytes, in network order.
    pub fn as_bytes(&self) -> &[u8; UUID_LEN] {
        self.0.as_bytes()
    }

    fn from_uuid(uuid: Uuid) -> Result<Self, IdError> {
        let valid = uuid.get_version_num() == 7 && uuid.get_variant() == uuid::Variant::RFC4122;
        if valid { Ok(Self(uuid)) } else { Err(IdError { what: "exchange id", rule: "it must be a UUIDv7" }) }
    }
}

/// The caller's idempotency key: a retry of the same intended effect carries the same one.
///
/// Any UUID but the nil one is taken: what the caller promises is that it never names two effects.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(Uuid);

impl RequestId {
    /// Makes a version 4 UUID of 16 random bytes.
    pub fn new(random: [u8; UUID_LEN]) -> Self {
        Self(uuid::Builder::from_random_bytes(random).into_uuid())
    }

    /// Reads the hyphenated form, in either case.
    ///
    /// # Errors
    /// [`IdError`] when the text is not a UUID in that form, or is the nil UUID.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        parse_uuid("request id", text).and_then(Self::from_uuid)
    }

    /// Reads 16 bytes from the wire.
    ///
    /// # Errors
    /// [`IdError`] when there are not 16, or all are zero.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, IdError> {
        uuid_from_slice("request id", bytes).and_then(Self::from_uuid)
    }

    /// The id's 16 bytes, in network order.
    pub fn as_bytes(&self) -> &[u8; UUID_LEN] {
        self.0.as_bytes()
    }

    fn from_uuid(uuid: Uuid) -> Result<Self, IdError> {
        if uuid.is_nil() {
            return Err(IdError { what: "request id", rule: "it must not be the nil UUID" });
        }
        Ok(Self(uuid))
    }
}

macro_rules! uuid_text {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0.hyphenated(), formatter)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, formatter)
            }
        }
    )*};
}

uuid_text!(ExchangeId, RequestId);

fn parse_uuid(what: &'static str, text: &str) -> Result<Uuid, IdError> {
    let rule = "it must be a hyphenated UUID";
    if text.len() != uuid::fmt::Hyphenated::LENGTH {
        return Err(IdError { what, rule });
    }
    Uuid::try_parse(text).map_err(|_| IdError { what, rule })
}

fn uuid_from_slice(what: &'static str, bytes: &[u8]) -> Result<Uuid, IdError> {
    Uuid::from_slice(bytes).map_err(|_| IdError { what, rule: "it must be 16 bytes" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exchange_id_is_a_uuid_v7_of_its_time() {
        let id = ExchangeId::new(UnixMillis::new(0x0123_4567_89ab), [0xff; 10]);
        assert_eq!(id.to_string(), "01234567-89ab-7fff-bfff-ffffffffffff");
        assert_eq!(ExchangeId::parse(&id.to_string()), Ok(id));
        assert_eq!(ExchangeId::from_slice(id.as_bytes()), Ok(id));
    }

    #[test]
    fn other_uuids_are_no_exchange_ids() {
        for text in ["", "01234567-89ab-4fff-bfff-ffffffffffff", "0123456789ab7fffbfffffffffffffff", "{x}"] {
            assert!(ExchangeId::parse(text).is_err(), "{text:?} was accepted");
        }
        assert!(ExchangeId::from_slice(&[0; 15]).is_err());
    }

    #[test]
    fn the_nil_uuid_is_no_request_id() {
        assert!(RequestId::parse("00000000-0000-0000-0000-000000000000").is_err());
        assert!(RequestId::from_slice(&[0; 16]).is_err());
        let id = RequestId::new([7; 16]);
        assert_eq!(RequestId::parse(&id.to_string().to_uppercase()), Ok(id));
    }
}
