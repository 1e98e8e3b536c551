//! Member secrets: what replicas agree on, and what nobody else can make or read.

use proptest::prelude::*;

use super::*;

fn secret(byte: u8) -> MemberSecret {
    MemberSecret::new(&[byte; MEMBER_SECRET_LEN])
}

#[test]
fn replicas_with_one_secret_agree() {
    let (one, two) = (secret(1), secret(1));
    assert_eq!(one.fingerprint(&[b"a", b"b"]), two.fingerprint(&[b"a", b"b"]));
    assert_eq!(one.ordering_key("20101199500001"), two.ordering_key("20101199500001"));
    assert!(two.verify_mac("marker", b"bytes", &one.mac("marker", b"bytes")).is_ok());
    assert_eq!(two.open_at_rest(b"aad", &one.seal_at_rest(b"aad", b"outcome")).unwrap(), b"outcome");
}

#[test]
fn secrets_and_purposes_are_apart() {
    let (one, two) = (secret(1), secret(2));
    let values = |secret: &MemberSecret| {
        [*secret.fingerprint(&[b"text"]).as_bytes(), secret.ordering_key("text"), secret.mac("", b"text")]
    };
    let all = [values(&one), values(&two)].concat();
    let distinct: std::collections::HashSet<_> = all.iter().collect();
    assert_eq!(distinct.len(), all.len());
    assert!(two.open_at_rest(b"", &one.seal_at_rest(b"", b"outcome")).is_err());
}

#[test]
fn a_list_is_not_its_concatenation() {
    let secret = secret(1);
    let lists: [&[&[u8]]; 5] = [&[b"ab", b"c"], &[b"a", b"bc"], &[b"abc"], &[b"abc", b""], &[b"", b"abc"]];
    let distinct: std::collections::HashSet<_> = lists.map(|parts| secret.fingerprint(parts)).into();
    assert_eq!(distinct.len(), lists.len());
    assert_ne!(secret.mac("marker", b"x"), secret.mac("marke", b"rx"));
}

/// Fixed values, so that an upgrade cannot silently change what replicas and stored records agree on.
/// **Source:** Python's `hmac` and RFC 5869 written out.
#[test]
fn derived_values_are_what_they_were() {
    let secret = MemberSecret::new(&std::array::from_fn(|index| u8::try_from(index).unwrap()));
    let values = [
        secret.fingerprint(&[b"service", b"method"]),
        Digest::from_bytes(secret.ordering_key("text")),
        Digest::from_bytes(secret.mac("marker", b"bytes")),
    ];
    assert_eq!(values.map(|value| value.to_string()), EXPECTED);
}

const EXPECTED: [&str; 3] = [
    "4f8df9b6efe7cacd371b51dc4bca5ac34b553f54ec7bc3c8fa004c05b8a2303a",
    "cdf3d10b7584adebc1a2ea7102961f83e415053acd26baccda18501268547f5a",
    "ed87432a84996673273c02abcb751231ceccea4dbb3d6a18a8c0064612647d77",
];

#[test]
fn equal_plaintexts_are_sealed_unequally() {
    let secret = secret(1);
    assert_ne!(secret.seal_at_rest(b"", b"outcome"), secret.seal_at_rest(b"", b"outcome"));
    assert_eq!(secret.seal_at_rest(b"", b"outcome").len(), 7 + AT_REST_OVERHEAD);
    assert!(secret.open_at_rest(b"", &[0; 31]).is_err());
    assert_eq!(format!("{secret:?}"), "MemberSecret");
}

#[cfg(unix)]
#[test]
fn a_secret_file_holds_32_bytes() {
    let folder = tempfile::tempdir().unwrap();
    for (len, good) in [(31, false), (32, true), (33, false)] {
        let path = folder.path().join(len.to_string());
        key_file::write_secret(&path, &vec![7; len]).unwrap();
        assert_eq!(MemberSecret::from_file(&path).is_ok(), good);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn every_flipped_bit_is_refused(bytes in proptest::collection::vec(any::<u8>(), 0..32)) {
        let secret = secret(1);
        let (mac, sealed) = (secret.mac("marker", &bytes), secret.seal_at_rest(b"aad", &bytes));
        prop_assert!(secret.open_at_rest(b"add", &sealed).is_err());
        prop_assert!(secret.verify_mac("marker", &bytes, &mac[..31]).is_err());
        for bit in 0..mac.len() * 8 {
            let mut flipped = mac;
            flipped[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(secret.verify_mac("marker", &bytes, &flipped).is_err());
        }
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(secret.open_at_rest(b"aad", &flipped).is_err());
        }
    }
}
