use kopuro_broker::StoredRecord;
use kopuro_core::topic::{MemberTopic, SubsystemTopic, TopicName};

use super::*;

fn secret() -> MemberSecret {
    MemberSecret::new(&[7; 32])
}

fn subsystem() -> SubsystemId {
    SubsystemId::parse("KG/GOV/2/fines").unwrap()
}

fn target(partition: u32) -> TopicPartition {
    TopicPartition { topic: TopicName::of_member(MemberTopic::DeadLetter, &subsystem().member()), partition }
}

fn letter() -> Letter {
    let header = |name: &str, value: &'static [u8]| (name.to_owned(), Bytes::from_static(value));
    let record = Record {
        key: Bytes::from_static(b"key"),
        value: Bytes::from_static(b"\xff\x00 poison"),
        headers: vec![header("traceparent", b"00-1"), header("kopuro-reason", b""), header("", b"\xff")],
    };
    let position = Position { partition: 1, offset: 17 };
    let stored = StoredRecord { position, append_time: UnixMillis::new(5), record };
    Letter::about(&stored, subsystem(), Reason::RecordMalformed, "gw", UnixMillis::new(9))
}

fn resolutions() -> [Resolution; 2] {
    [Action::Replayed(40), Action::Discarded].map(|action| Resolution {
        letter: letter().id(),
        action,
        time: UnixMillis::new(11),
        gateway: "gw".into(),
        because: "the key was registered late".into(),
    })
}

#[test]
fn a_letter_keeps_its_record_as_it_was_found() {
    let bytes = write_letter(&secret(), &target(1), &letter());
    assert_eq!(read(&secret(), &target(1), &bytes), Some(Entry::Letter(letter())));
    for resolution in resolutions() {
        let bytes = write_resolution(&secret(), &target(1), &resolution);
        assert_eq!(read(&secret(), &target(1), &bytes), Some(Entry::Resolution(resolution)));
    }
}

#[test]
fn an_entry_counts_only_where_a_gateway_wrote_it() {
    let resolution = write_resolution(&secret(), &target(1), &resolutions()[0]);
    for bytes in [write_letter(&secret(), &target(1), &letter()), resolution] {
        let entry = read(&secret(), &target(1), &bytes);
        assert_eq!(read(&secret(), &target(2), &bytes), None);
        assert_eq!(read(&MemberSecret::new(&[8; 32]), &target(1), &bytes), None);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let read = read(&secret(), &target(1), &flipped.into());
            assert!(read.is_none() || read == entry, "bit {bit} changes what the entry says");
        }
    }
}

#[test]
fn a_letter_about_a_topic_of_no_requests_is_none() {
    let elsewhere = TopicName::of_subsystem(SubsystemTopic::Event, &subsystem());
    let strayed = wire::DeadLetter { topic: elsewhere.to_string(), ..letter_to_wire(&letter()) };
    let bytes = write(&secret(), &target(1), Body::Letter(strayed));
    assert_eq!(read(&secret(), &target(1), &bytes), None);
}

#[test]
fn a_letter_that_is_cut_is_about_the_same_record() {
    let mut large = letter();
    large.record.value = vec![1; 5 << 20].into();
    let cut = large.clone().shortened();
    assert_eq!((cut.id(), cut.clone().shortened()), (large.id(), cut.clone()));
    let facts = cut.cut.unwrap();
    assert_eq!((facts.key_size_bytes, facts.value_size_bytes, facts.headers_count), (3, 5 << 20, 3));
    assert_eq!(facts.value_digest, Digest::of(&large.record.value));
    let bytes = write_letter(&secret(), &target(1), &cut);
    assert!(bytes.len() < 128 * 1024, "{}", bytes.len());
    assert_eq!(read(&secret(), &target(1), &bytes), Some(Entry::Letter(cut)));
}

#[test]
fn a_letter_is_named_by_where_its_record_stood_and_what_it_was() {
    let later = Letter { put_aside_time: UnixMillis::new(99), gateway: "other".into(), ..letter() };
    assert_eq!(later.id(), letter().id());
    let changes: [fn(&mut Letter); 4] = [
        |letter| letter.origin.position.offset += 1,
        |letter| letter.origin.append_time = UnixMillis::new(6),
        |letter| letter.origin.subsystem = SubsystemId::parse("KG/GOV/2/other").unwrap(),
        |letter| letter.record.value = Bytes::new(),
    ];
    for change in changes {
        let mut other = letter();
        change(&mut other);
        assert_ne!(other.id(), letter().id());
    }
}
