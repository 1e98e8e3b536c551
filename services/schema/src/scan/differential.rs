//! The scan against other readers of protobuf: what prost-reflect writes is accepted, and what is accepted means
//! the same to prost-reflect.

use proptest::prelude::*;
use prost::Message as _;
use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage, Value,
};

use super::tests::KINDS;
use crate::testing::{NOW, call, load, method};
use crate::{Contract, Direction, InvalidKind, Method, ValidateError};

/// How deep random messages nest.
const DEPTH: usize = 4;

#[test]
fn what_prost_reflect_writes_is_accepted() {
    let methods = methods();
    proptest!(ProptestConfig::with_cases(400), |(seed in prop::collection::vec(any::<u8>(), 0..600))| {
        for (method, direction) in &methods {
            let message = Source(seed.iter()).message(&descriptor(method, *direction), DEPTH);
            let payload = message.encode_to_vec();
            prop_assert!(scan_accepts(method, *direction, &payload), "{}", method.id());
        }
    });
}

#[test]
fn what_is_accepted_is_read_alike() {
    let methods = methods();
    let mutation = (any::<prop::sample::Index>(), 0..5_u8, any::<u8>());
    let inputs = (prop::collection::vec(any::<u8>(), 0..200), prop::collection::vec(mutation, 1..4));
    proptest!(ProptestConfig::with_cases(3_000), |((seed, mutations) in inputs)| {
        for (method, direction) in &methods {
            let descriptor = descriptor(method, *direction);
            let mut payload = Source(seed.iter()).message(&descriptor, DEPTH).encode_to_vec();
            for (at, kind, byte) in &mutations {
                mutate(&mut payload, *at, *kind, *byte);
            }
            if scan_accepts(method, *direction, &payload) {
                let message = DynamicMessage::decode(descriptor.clone(), payload.as_slice()).unwrap();
                prop_assert!(!has_unknown(&message));
                let again = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice()).unwrap();
                prop_assert!(scan_accepts(method, *direction, &again.encode_to_vec()));
                prop_assert!(same(&message, &again));
            }
        }
    });
}

#[test]
fn no_cut_and_no_flipped_bit_panics() {
    let seed: Vec<u8> = (0..=255).cycle().step_by(7).take(300).collect();
    for (method, direction) in methods() {
        let payload = Source(seed.iter()).message(&descriptor(&method, direction), DEPTH).encode_to_vec();
        for end in 0..payload.len() {
            let (Ok(()) | Err(_)) = method.validate(direction, &payload[..end], NOW);
        }
        let mut flipped = payload.clone();
        for bit in 0..payload.len() * 8 {
            flipped[bit / 8] ^= 1 << (bit % 8);
            let (Ok(()) | Err(_)) = method.validate(direction, &flipped, NOW);
            flipped[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

/// Every payload of the example contracts, and one of every kind of field.
fn methods() -> Vec<(Method, Direction)> {
    use kopuro_proto::examples::kg;
    let sets = [
        kg::socialfund::v1::FILE_DESCRIPTOR_SET,
        kg::traffic::v1::FILE_DESCRIPTOR_SET,
        kg::civilregistry::v1::FILE_DESCRIPTOR_SET,
    ];
    let contracts = sets.iter().map(|set| Contract::load(set).unwrap());
    let examples = contracts.flat_map(|contract| contract.methods().cloned().collect::<Vec<_>>());
    let both = |method: Method| [(method.clone(), Direction::Request), (method, Direction::Response)];
    let kinds = load(KINDS).unwrap();
    examples.flat_map(both).chain([(call(&kinds).clone(), Direction::Request)]).collect()
}

fn descriptor(method: &Method, direction: Direction) -> MessageDescriptor {
    match direction {
        Direction::Request => method.input().clone(),
        Direction::Response => method.output().clone(),
    }
}

fn scan_accepts(method: &Method, direction: Direction, payload: &[u8]) -> bool {
    match method.validate(direction, payload, NOW) {
        Ok(()) => true,
        Err(ValidateError::Invalid(invalid)) => invalid.kind == InvalidKind::Rules,
        Err(ValidateError::Fault(fault)) => panic!("{fault}"),
    }
}

fn mutate(payload: &mut Vec<u8>, at: prop::sample::Index, kind: u8, byte: u8) {
    if payload.is_empty() {
        return payload.push(byte);
    }
    let place = at.index(payload.len());
    match kind {
        0 => payload[place] = byte,
        1 => payload[place] ^= 1 << (byte % 8),
        2 => payload.insert(place, byte),
        3 => drop(payload.remove(place)),
        // Doubles a stretch, which may double a field.
        _ => {
            let end = payload.len().min(place + usize::from(byte % 24));
            let stretch = payload[place..end].to_vec();
            payload.splice(place..place, stretch);
        }
    }
}

/// Equal bit by bit, so that NaN equals itself.
fn same(one: &DynamicMessage, other: &DynamicMessage) -> bool {
    one.descriptor().fields().all(|field| match (one.has_field(&field), other.has_field(&field)) {
        (true, true) => same_value(&one.get_field(&field), &other.get_field(&field)),
        (one, other) => one == other,
    })
}

fn same_value(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::F32(one), Value::F32(other)) => one.to_bits() == other.to_bits(),
        (Value::F64(one), Value::F64(other)) => one.to_bits() == other.to_bits(),
        (Value::Message(one), Value::Message(other)) => same(one, other),
        (Value::List(one), Value::List(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same_value(one, other))
        }
        (Value::Map(one), Value::Map(other)) => {
            let held = |(key, value)| other.get(key).is_some_and(|other| same_value(value, other));
            one.len() == other.len() && one.iter().all(held)
        }
        _ => one == other,
    }
}

fn has_unknown(message: &DynamicMessage) -> bool {
    message.unknown_fields().next().is_some() || message.fields().any(|(_, value)| value_has_unknown(value))
}

fn value_has_unknown(value: &Value) -> bool {
    match value {
        Value::Message(message) => has_unknown(message),
        Value::List(items) => items.iter().any(value_has_unknown),
        Value::Map(entries) => entries.values().any(value_has_unknown),
        _ => false,
    }
}

/// Makes messages from bytes, so that proptest can shrink them; zeros once the bytes are used up.
struct Source<'b>(std::slice::Iter<'b, u8>);

impl Source<'_> {
    fn byte(&mut self) -> u8 {
        self.0.next().copied().unwrap_or(0)
    }

    fn wide(&mut self) -> u64 {
        let len = self.byte() % 9;
        (0..len).fold(0, |value, _| (value << 8) | u64::from(self.byte()))
    }

    fn message(&mut self, descriptor: &MessageDescriptor, depth: usize) -> DynamicMessage {
        let mut message = DynamicMessage::new(descriptor.clone());
        for field in descriptor.fields() {
            if self.byte() % 2 == 1 {
                let value = self.field(&field, depth);
                message.set_field(&field, value);
            }
        }
        message
    }

    fn field(&mut self, field: &FieldDescriptor, depth: usize) -> Value {
        let count = self.byte() % 4;
        if field.is_map() {
            let entry = field.kind().as_message().cloned().unwrap();
            let (key, value) = (entry.map_entry_key_field(), entry.map_entry_value_field());
            return Value::Map((0..count).map(|_| (self.key(&key), self.value(&value, depth))).collect());
        }
        if field.is_list() {
            return Value::List((0..count).map(|_| self.value(field, depth)).collect());
        }
        self.value(field, depth)
    }

    fn key(&mut self, field: &FieldDescriptor) -> MapKey {
        self.value(field, 0).into_map_key().unwrap()
    }

    fn value(&mut self, field: &FieldDescriptor, depth: usize) -> Value {
        match field.kind() {
            Kind::Bool => Value::Bool(self.byte() % 2 == 1),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(self.wide() as i32),
            Kind::Uint32 | Kind::Fixed32 => Value::U32(self.wide() as u32),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(self.wide() as i64),
            Kind::Uint64 | Kind::Fixed64 => Value::U64(self.wide()),
            Kind::Float => Value::F32(f32::from_bits(self.wide() as u32)),
            Kind::Double => Value::F64(f64::from_bits(self.wide())),
            Kind::Enum(_) => Value::EnumNumber(self.wide() as i32),
            Kind::String => Value::String((0..self.byte() % 20).map(|_| char::from(self.byte())).collect()),
            Kind::Bytes => Value::Bytes((0..self.byte() % 20).map(|_| self.byte()).collect()),
            Kind::Message(message) if depth > 0 => Value::Message(self.message(&message, depth - 1)),
            Kind::Message(message) => Value::Message(DynamicMessage::new(message)),
        }
    }
}

#[test]
fn an_example_is_accepted_by_scan_and_rules() {
    use kopuro_proto::examples::kg::socialfund::v1::{FILE_DESCRIPTOR_SET, GetPensionInfoRequest};
    let contract = Contract::load(FILE_DESCRIPTOR_SET).unwrap();
    let method = method(&contract, "/kg.socialfund.v1.PensionService/GetPensionInfo");
    let request = GetPensionInfoRequest {
        pin: "21503195800123".into(),
        requesting_organisation: "State Agency for Civil Service".into(),
        requesting_person_pin: "11207197500456".into(),
    };
    let payload = request.encode_to_vec();
    method.validate(Direction::Request, &payload, NOW).unwrap();
    let read = DynamicMessage::decode(method.input().clone(), payload.as_slice()).unwrap();
    assert_eq!(read.transcode_to::<GetPensionInfoRequest>().unwrap(), request);
}
