//! The bound on a request's header list.
//!
//! HTTP/2 itself answers a list beyond its own bound with a bare 431, of which gRPC clients make an `UNKNOWN` without a
//! reason. So it reads more than is taken, and what lies between is refused with the documented reason.

use http::Request;
use kopuro_core::error::{Reason, Refusal};

/// The largest header list taken. **Units:** bytes.
const LIST_LEN_MAX: usize = 16 * 1024;
/// The largest header list read. **Units:** bytes.
pub(super) const LIST_READ_MAX: u32 = 64 * 1024;

/// What each field takes beside its name and value (RFC 9113, section 6.5.2). **Units:** bytes.
const FIELD_OVERHEAD: usize = 32;

/// Refuses a request whose header list is too large.
pub(super) fn check<B>(request: &Request<B>) -> Result<(), Refusal> {
    if list_len(request) <= LIST_LEN_MAX {
        return Ok(());
    }
    Err(Refusal::with(
        Reason::MetadataInvalid,
        format_args!("the request's headers take more than {LIST_LEN_MAX} bytes"),
    ))
}

/// The length of a header list as HTTP/2 counts it.
fn list_len<B>(request: &Request<B>) -> usize {
    let uri = request.uri();
    let pseudo = [
        (":method", request.method().as_str()),
        (":scheme", uri.scheme_str().unwrap_or_default()),
        (":authority", uri.authority().map_or("", |authority| authority.as_str())),
        (":path", uri.path_and_query().map_or("", |path| path.as_str())),
    ];
    let pseudo = pseudo.iter().map(|(name, value)| name.len() + value.len());
    let fields = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len());
    pseudo.chain(fields).map(|len| len + FIELD_OVERHEAD).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request whose header list has this length.
    fn request(len: usize) -> Request<()> {
        let with = |value: String| {
            Request::post("https://gateway/a.B/C").header("kopuro-purpose-bin", value).body(()).unwrap()
        };
        with("x".repeat(len - list_len(&with(String::new()))))
    }

    #[test]
    fn a_list_is_counted_as_http_2_counts_it() {
        let request = Request::post("https://gateway/a.B/C").header("te", "trailers").body(()).unwrap();
        let expected = [":methodPOST", ":schemehttps", ":authoritygateway", ":path/a.B/C", "tetrailers"];
        assert_eq!(list_len(&request), expected.iter().map(|field| field.len() + 32).sum::<usize>());
    }

    #[test]
    fn a_list_is_taken_up_to_its_bound() {
        assert!(check(&request(LIST_LEN_MAX)).is_ok());
        let path = format!("https://gateway/a.B/{}", "C".repeat(LIST_LEN_MAX));
        assert!(check(&Request::post(path).body(()).unwrap()).is_err());
        let refusal = check(&request(LIST_LEN_MAX + 1)).unwrap_err();
        assert_eq!(refusal.reason, Reason::MetadataInvalid);
    }
}
