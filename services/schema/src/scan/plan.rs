//! What a scan needs to know of a message type, laid out so that one lookup answers it.

use std::collections::HashMap;

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use super::wire::WireType;

/// How many fields a message type may have that occur at most once; a oneof counts as one.
pub(crate) const SINGULAR_FIELDS_MAX: usize = 256;
/// Field numbers up to this are found by index, higher ones by search.
const DENSE_NUMBER_MAX: u32 = 255;
/// Stands for a number that no field has; no type has so many fields.
const NO_FIELD: u16 = u16::MAX;

/// Names a message type's plan within its contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PlanId(usize);

/// The plans of a contract's message types.
pub(crate) struct Plans {
    messages: Vec<MessagePlan>,
    ids: HashMap<String, PlanId>,
}

/// A message type has more singular fields than a scan can track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TooManyFields {
    pub(crate) message: String,
}

pub(super) struct MessagePlan {
    fields: Box<[FieldPlan]>,
    numbers: Numbers,
    /// Whether the type is the entry of a map field.
    pub(super) map_entry: bool,
}

/// Field number → index in the fields of a type.
struct Numbers {
    /// By number, up to [`DENSE_NUMBER_MAX`].
    dense: Box<[u16]>,
    /// Higher numbers, sorted.
    sparse: Box<[(u32, u16)]>,
}

pub(super) struct FieldPlan {
    pub(super) number: u32,
    pub(super) name: Box<str>,
    pub(super) value: Value,
    pub(super) occurs: Occurs,
}

/// How often a field may occur.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Occurs {
    /// At most once; the members of a oneof share a slot.
    Once { slot: u16 },
    /// Any number of times.
    Repeated,
    /// Any number of times, as entries of a map.
    Map,
}

/// What a field's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Varint(Range),
    Fixed32,
    Fixed64,
    String,
    Bytes,
    Message(PlanId),
}

/// Which varints a type takes. Values outside are cut off differently by different decoders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Range {
    /// `bool`: 0 or 1.
    Bool,
    /// `int32` and enums: sign-extended to 64 bits. Whether an enum value is defined is left to the rules, since
    /// proto3 enums are open.
    Signed32,
    /// `uint32` and `sint32`.
    Unsigned32,
    /// 64-bit types: all.
    Any,
}

impl Plans {
    /// Makes the plans of `messages`, which must hold every type that their fields refer to.
    pub(crate) fn of(messages: &[MessageDescriptor]) -> Result<Self, TooManyFields> {
        let named =
            |(index, message): (usize, &MessageDescriptor)| (message.full_name().to_owned(), PlanId(index));
        let ids = messages.iter().enumerate().map(named).collect();
        let messages =
            messages.iter().map(|message| MessagePlan::of(message, &ids)).collect::<Result<_, _>>()?;
        Ok(Self { messages, ids })
    }

    /// The plan of a message type.
    pub(crate) fn id(&self, message: &MessageDescriptor) -> Option<PlanId> {
        self.ids.get(message.full_name()).copied()
    }

    pub(super) fn get(&self, id: PlanId) -> &MessagePlan {
        &self.messages[id.0]
    }
}

impl MessagePlan {
    fn of(message: &MessageDescriptor, ids: &HashMap<String, PlanId>) -> Result<Self, TooManyFields> {
        let mut slots = Slots::default();
        let fields: Box<[_]> =
            message.fields().map(|field| FieldPlan::of(&field, slots.occurs(&field), ids)).collect();
        if slots.taken > SINGULAR_FIELDS_MAX || fields.len() >= usize::from(NO_FIELD) {
            return Err(TooManyFields { message: message.full_name().to_owned() });
        }
        let numbers = Numbers::of(&fields);
        Ok(Self { fields, numbers, map_entry: message.is_map_entry() })
    }

    #[inline]
    pub(super) fn field(&self, number: u32) -> Option<&FieldPlan> {
        self.fields.get(usize::from(self.numbers.index(number)))
    }
}

impl Numbers {
    fn of(fields: &[FieldPlan]) -> Self {
        let low = |number: &u32| *number <= DENSE_NUMBER_MAX;
        let last = fields.iter().map(|field| field.number).filter(low).max().unwrap_or(0);
        let mut dense = vec![NO_FIELD; last as usize + 1];
        let mut sparse = Vec::new();
        for (index, field) in (0..NO_FIELD).zip(fields) {
            if low(&field.number) {
                dense[field.number as usize] = index;
            } else {
                sparse.push((field.number, index));
            }
        }
        sparse.sort_unstable();
        Self { dense: dense.into(), sparse: sparse.into() }
    }

    /// The index of a field, or [`NO_FIELD`].
    #[inline]
    fn index(&self, number: u32) -> u16 {
        if let Some(&index) = self.dense.get(number as usize) {
            return index;
        }
        let place = self.sparse.binary_search_by_key(&number, |(number, _)| *number);
        place.map_or(NO_FIELD, |place| self.sparse[place].1)
    }
}

impl FieldPlan {
    fn of(field: &FieldDescriptor, occurs: Occurs, ids: &HashMap<String, PlanId>) -> Self {
        Self {
            number: field.number(),
            name: field.name().into(),
            value: Value::of(&field.kind(), ids),
            occurs,
        }
    }
}

impl Value {
    fn of(kind: &Kind, ids: &HashMap<String, PlanId>) -> Self {
        match kind {
            Kind::Bool => Self::Varint(Range::Bool),
            Kind::Int32 | Kind::Enum(_) => Self::Varint(Range::Signed32),
            Kind::Uint32 | Kind::Sint32 => Self::Varint(Range::Unsigned32),
            Kind::Int64 | Kind::Uint64 | Kind::Sint64 => Self::Varint(Range::Any),
            Kind::Fixed32 | Kind::Sfixed32 | Kind::Float => Self::Fixed32,
            Kind::Fixed64 | Kind::Sfixed64 | Kind::Double => Self::Fixed64,
            Kind::String => Self::String,
            Kind::Bytes => Self::Bytes,
            Kind::Message(message) => {
                Self::Message(*ids.get(message.full_name()).expect("every referred type has a plan"))
            }
        }
    }

    /// The wire type of one value.
    pub(super) fn wire(self) -> WireType {
        match self {
            Self::Varint(_) => WireType::Varint,
            Self::Fixed32 => WireType::Fixed32,
            Self::Fixed64 => WireType::Fixed64,
            Self::String | Self::Bytes | Self::Message(_) => WireType::Len,
        }
    }
}

impl Range {
    #[inline]
    pub(super) fn holds(self, varint: u64) -> bool {
        match self {
            Self::Bool => varint <= 1,
            Self::Signed32 => i32::try_from(varint.cast_signed()).is_ok(),
            Self::Unsigned32 => u32::try_from(varint).is_ok(),
            Self::Any => true,
        }
    }
}

/// Hands out slots to singular fields.
#[derive(Default)]
struct Slots {
    taken: usize,
    oneofs: HashMap<String, u16>,
}

impl Slots {
    fn occurs(&mut self, field: &FieldDescriptor) -> Occurs {
        if field.is_map() {
            return Occurs::Map;
        }
        if field.is_list() {
            return Occurs::Repeated;
        }
        let Some(oneof) = field.containing_oneof() else { return Occurs::Once { slot: self.next() } };
        if let Some(&slot) = self.oneofs.get(oneof.name()) {
            return Occurs::Once { slot };
        }
        let slot = self.next();
        self.oneofs.insert(oneof.name().to_owned(), slot);
        Occurs::Once { slot }
    }

    /// The next slot. Past the maximum the type is refused, so that a number that does not fit matters to nobody.
    fn next(&mut self) -> u16 {
        let slot = u16::try_from(self.taken).unwrap_or(u16::MAX);
        self.taken += 1;
        slot
    }
}
