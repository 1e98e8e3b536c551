use crate::testing::{call, fault_of, faults, load};
use crate::{Contract, InvalidKind, ScanLimits};

/// Every kind of field.
pub(super) const KINDS: &str = "
    message CallRequest {
      bool flag = 1; int32 i32 = 2; uint32 u32 = 3; sint32 s32 = 4; int64 i64 = 5; uint64 u64 = 6; sint64 s64 = 7;
      fixed32 f32 = 8; fixed64 f64 = 9; float float = 10; double double = 11; string text = 12; bytes blob = 13;
      Level level = 14; optional int32 maybe = 15; CallRequest child = 16;
      repeated int32 numbers = 17; repeated fixed64 wides = 18; repeated string texts = 19;
      repeated CallRequest children = 20; map<string, int32> by_name = 21; map<int64, CallRequest> by_id = 22;
      map<bool, bytes> by_flag = 23; map<fixed32, Level> by_fixed = 24; repeated Level levels = 25;
      repeated bool flags = 26; repeated float floats = 27; sfixed32 sf32 = 28; sfixed64 sf64 = 29;
      oneof choice { string name = 30; int64 number = 31; CallRequest nested = 32; }
      string far = 300; repeated int32 farther = 536870911;
    }
    enum Level { LEVEL_UNSPECIFIED = 0; LEVEL_HIGH = 1; }";

fn kinds() -> Contract {
    load(KINDS).unwrap()
}

/// A field's tag as it begins: field numbers up to 15 take one byte, up to 2,047 two.
fn tag(number: u32, wire: u8) -> Vec<u8> {
    let key = (number << 3) | u32::from(wire);
    varint(u64::from(key))
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
        value >>= 7;
    }
    bytes.push(u8::try_from(value).unwrap());
    bytes
}

fn integer(number: u32, value: u64) -> Vec<u8> {
    [tag(number, 0), varint(value)].concat()
}

fn block(number: u32, content: &[u8]) -> Vec<u8> {
    [tag(number, 2), varint(content.len() as u64), content.to_vec()].concat()
}

#[test]
fn what_protobuf_allows_is_accepted() {
    let contract = kinds();
    let method = call(&contract);
    let accepted: &[Vec<u8>] = &[
        vec![],
        integer(1, 1),
        integer(2, u64::MAX),
        integer(2, i64::from(i32::MIN) as u64),
        integer(3, u64::from(u32::MAX)),
        integer(4, u64::from(u32::MAX)),
        integer(6, u64::MAX),
        integer(14, 77),
        [tag(8, 5), vec![0; 4], tag(9, 1), vec![0; 8]].concat(),
        // Packed, unpacked, and both.
        [block(17, &[1, 2, 3]), integer(17, 4), block(17, &[])].concat(),
        [block(18, &[0; 16]), tag(18, 1), vec![0; 8]].concat(),
        // A varint need not be minimal, nor a tag.
        [tag(1, 0), vec![0x81, 0x80, 0x00]].concat(),
        [vec![0x88, 0x80, 0x00], vec![1]].concat(),
        block(12, "көпүрө".as_bytes()),
        block(13, &[0xff, 0xfe]),
        [block(21, &block(1, b"a")), block(21, &block(1, b"b")), block(22, &[])].concat(),
        [block(16, &block(21, &block(1, b"a"))), block(21, &block(1, b"a"))].concat(),
        [block(300, b"far"), integer(536_870_911, 1)].concat(),
        block(30, b"one of them"),
    ];
    for payload in accepted {
        assert_eq!(fault_of(method, payload), None, "{payload:02x?}");
    }
}

#[test]
fn what_decoders_read_differently_is_refused() {
    let contract = kinds();
    let method = call(&contract);
    let refused: &[(Vec<u8>, &str)] = &[
        (integer(99, 1), "99 structure.unknown_field"),
        (block(16, &integer(270, 1)), "child.270 structure.unknown_field"),
        (block(21, &integer(3, 1)), "by_name[*].3 structure.unknown_field"),
        ([integer(1, 1), integer(1, 1)].concat(), "flag structure.duplicate_field"),
        ([integer(15, 1), integer(15, 1)].concat(), "maybe structure.duplicate_field"),
        ([block(16, &[]), block(16, &[])].concat(), "child structure.duplicate_field"),
        ([block(30, b"x"), integer(31, 1)].concat(), "number structure.duplicate_field"),
        (block(21, &[block(1, b"a"), block(1, b"a")].concat()), "by_name[*].key structure.duplicate_field"),
        (block(21, &[integer(2, 1), integer(2, 1)].concat()), "by_name[*].value structure.duplicate_field"),
        (integer(1, 2), "flag structure.out_of_range"),
        (integer(2, 1 << 31), "i32 structure.out_of_range"),
        (integer(2, u64::from(u32::MAX)), "i32 structure.out_of_range"),
        (integer(3, 1 << 32), "u32 structure.out_of_range"),
        (integer(4, 1 << 32), "s32 structure.out_of_range"),
        (integer(14, 1 << 31), "level structure.out_of_range"),
        (block(17, &[1, 0xff, 0xff, 0xff, 0xff, 0x0f]), "numbers[0] structure.out_of_range"),
        (block(26, &[1, 2]), "flags[0] structure.out_of_range"),
        (integer(12, 1), "text structure.wire_type"),
        (block(1, &[1]), "flag structure.wire_type"),
        ([tag(5, 5), vec![0; 4]].concat(), "i64 structure.wire_type"),
        ([tag(17, 5), vec![0; 4]].concat(), "numbers[0] structure.wire_type"),
        (integer(19, 1), "texts[0] structure.wire_type"),
        (integer(21, 1), "by_name[*] structure.wire_type"),
        (block(21, &integer(1, 1)), "by_name[*].key structure.wire_type"),
        (block(22, &block(1, b"1")), "by_id[*].key structure.wire_type"),
        (block(12, &[0xff]), "text structure.utf8"),
        (block(12, &[0xed, 0xa0, 0x80]), "text structure.utf8"),
        (block(19, &[0xc0, 0x80]), "texts[0] structure.utf8"),
        (block(21, &block(1, &[0xff])), "by_name[*].key structure.utf8"),
        (block(30, &[0xff]), "name structure.utf8"),
    ];
    for (payload, expected) in refused {
        assert_eq!(faults(method, payload), [*expected], "{payload:02x?}");
    }
}

#[test]
fn what_cannot_be_read_ends_the_scan() {
    let contract = kinds();
    let method = call(&contract);
    let refused: &[(Vec<u8>, &str)] = &[
        (vec![0x00], " structure.field_number"),
        (vec![0x02, 0x00], " structure.field_number"),
        ([varint(1 << 32), vec![0]].concat(), " structure.field_number"),
        (vec![0x0b], " structure.wire_type"),
        (vec![0x0c], " structure.wire_type"),
        (vec![0x0e], " structure.wire_type"),
        (vec![0x08], "flag structure.truncated"),
        (vec![0x80], " structure.truncated"),
        ([tag(5, 0), vec![0xff; 11]].concat(), "i64 structure.varint"),
        ([tag(12, 2), vec![5, b'a']].concat(), "text structure.truncated"),
        ([tag(12, 2), varint(u64::MAX)].concat(), "text structure.truncated"),
        ([tag(9, 1), vec![0; 7]].concat(), "f64 structure.truncated"),
        ([tag(8, 5), vec![0; 3]].concat(), "f32 structure.truncated"),
        (block(18, &[0; 12]), "wides[0] structure.truncated"),
        (block(17, &[0x80]), "numbers[0] structure.truncated"),
        // The child's text would end in its parent.
        (
            [block(16, &[tag(12, 2), vec![2, b'a']].concat()), vec![b'b']].concat(),
            "child.text structure.truncated",
        ),
    ];
    for (payload, expected) in refused {
        let found = faults(method, payload);
        assert_eq!(found, [*expected], "{payload:02x?}");
    }
}

#[test]
fn a_key_occurs_once_in_its_map() {
    let contract = kinds();
    let method = call(&contract);
    let entry = |number, key: &[u8]| block(number, key);
    let twice: &[(u32, Vec<u8>, Vec<u8>, &str)] = &[
        (21, block(1, b"a"), [integer(2, 7), block(1, b"a")].concat(), "by_name[*] structure.duplicate_key"),
        (21, vec![], block(1, b""), "by_name[*] structure.duplicate_key"),
        (
            22,
            integer(1, 300),
            [tag(1, 0), vec![0xac, 0x82, 0x00]].concat(),
            "by_id[*] structure.duplicate_key",
        ),
        (22, vec![], integer(1, 0), "by_id[*] structure.duplicate_key"),
        (23, integer(1, 0), vec![], "by_flag[*] structure.duplicate_key"),
        (24, [tag(1, 5), vec![0; 4]].concat(), vec![], "by_fixed[*] structure.duplicate_key"),
    ];
    for (number, first, second, expected) in twice {
        let payload = [entry(*number, first), entry(*number, second)].concat();
        assert_eq!(faults(method, &payload), [*expected], "{payload:02x?}");
    }
    // Two maps, and one map in two messages, may hold the same key.
    let apart = [
        entry(22, &integer(1, 1)),
        entry(23, &integer(1, 1)),
        entry(24, &[tag(1, 5), vec![1, 0, 0, 0]].concat()),
    ];
    assert_eq!(fault_of(method, &apart.concat()), None);
    let child = block(20, &entry(21, &block(1, b"a")));
    assert_eq!(fault_of(method, &[child.clone(), child].concat()), None);
}

#[test]
fn a_violation_says_where_it_is() {
    let contract = kinds();
    let method = call(&contract);
    let wrong = integer(1, 2);
    let second = [block(20, &[]), integer(2, 1), block(20, &block(20, &wrong))].concat();
    assert_eq!(faults(method, &second), ["children[1].children[0].flag structure.out_of_range"]);
    let in_map = block(22, &block(2, &wrong));
    assert_eq!(faults(method, &in_map), ["by_id[*].value.flag structure.out_of_range"]);
    let several = [integer(99, 1), block(12, &[0xff]), integer(1, 2)].concat();
    assert_eq!(
        faults(method, &several),
        ["99 structure.unknown_field", "text structure.utf8", "flag structure.out_of_range"]
    );
}

#[test]
fn at_most_sixteen_violations_are_told() {
    let contract = kinds();
    let invalid = fault_of(call(&contract), &integer(99, 1).repeat(1_000)).unwrap();
    assert_eq!((invalid.kind, invalid.violations.len()), (InvalidKind::Structure, 16));
}

#[test]
fn nesting_is_bounded() {
    let contract = kinds();
    let method = call(&contract);
    let nest = |levels: usize| (1..levels).fold(Vec::new(), |inner, _| block(16, &inner));
    assert_eq!(fault_of(method, &nest(32)), None);
    let invalid = fault_of(method, &nest(33)).unwrap();
    assert_eq!(invalid.violations[0].rule_id, "structure.depth");
    assert_eq!(fault_of(method, &nest(10_000)).unwrap().violations.len(), 1);
}

#[test]
fn elements_are_counted_however_they_are_encoded() {
    let limits = ScanLimits { elements_max: 10, ..ScanLimits::default() };
    let set = crate::testing::descriptor_set(&crate::testing::source(KINDS));
    let contract = Contract::load_with_limits(&set, limits).unwrap();
    let method = call(&contract);
    for ten in [
        block(17, &[1; 10]),
        integer(17, 1).repeat(10),
        block(18, &[0; 80]),
        block(19, b"").repeat(10),
        block(20, b"").repeat(10),
        (0..10).flat_map(|key| block(22, &integer(1, key))).collect(),
        (0..10).fold(Vec::new(), |inner, _| block(16, &inner)),
    ] {
        assert_eq!(fault_of(method, &ten), None, "{ten:02x?}");
        let eleven = [ten, integer(17, 1)].concat();
        assert_eq!(fault_of(method, &eleven).unwrap().violations[0].rule_id, "structure.elements");
    }
}

#[test]
fn size_is_bounded() {
    let contract = kinds();
    let size_bytes_max = ScanLimits::default().size_bytes_max;
    let of_size = |size: usize| block(13, &vec![0; size - 5]);
    assert_eq!(of_size(size_bytes_max).len(), size_bytes_max);
    assert_eq!(fault_of(call(&contract), &of_size(size_bytes_max)), None);
    assert_eq!(faults(call(&contract), &of_size(size_bytes_max + 1)), [" structure.size"]);
}

#[test]
fn a_kind_of_map_value_the_scan_did_not_see_cannot_hide() {
    // prost-reflect reads this map value, an `int32` written as LEN, without complaint.
    let contract = kinds();
    let payload = block(21, &block(2, &[1]));
    assert_eq!(faults(call(&contract), &payload), ["by_name[*].value structure.wire_type"]);
}
