//! What the scan finds wrong with payloads.

use super::wire::Broken;

/// What a payload does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Defect {
    Broken(Broken),
    TooLarge,
    TooDeep,
    TooManyElements,
    UnknownField,
    DuplicateField,
    DuplicateKey,
    WrongWireType,
    OutOfRange,
    NotUtf8,
}

impl Defect {
    /// The rule broken, as violations name it.
    pub(super) fn rule_id(self) -> &'static str {
        match self {
            Self::Broken(Broken::Truncated) => "structure.truncated",
            Self::Broken(Broken::VarintOverflow) => "structure.varint",
            Self::Broken(Broken::FieldNumber) => "structure.field_number",
            Self::Broken(Broken::WireType) | Self::WrongWireType => "structure.wire_type",
            Self::TooLarge => "structure.size",
            Self::TooDeep => "structure.depth",
            Self::TooManyElements => "structure.elements",
            Self::UnknownField => "structure.unknown_field",
            Self::DuplicateField => "structure.duplicate_field",
            Self::DuplicateKey => "structure.duplicate_key",
            Self::OutOfRange => "structure.out_of_range",
            Self::NotUtf8 => "structure.utf8",
        }
    }

    /// The rule broken, in words.
    pub(super) fn description(self) -> &'static str {
        match self {
            Self::Broken(Broken::Truncated) => "a value runs past the end of its message",
            Self::Broken(Broken::VarintOverflow) => "a varint takes more than 64 bits",
            Self::Broken(Broken::FieldNumber) => "a field number is not between 1 and 2^29 - 1",
            Self::Broken(Broken::WireType) => "groups and undefined wire types are not allowed",
            Self::TooLarge => "the payload is larger than allowed",
            Self::TooDeep => "messages nest deeper than 32 levels",
            Self::TooManyElements => "the payload holds more elements than allowed",
            Self::UnknownField => "the contract has no such field",
            Self::DuplicateField => "the field, or another of its oneof, occurs more than once",
            Self::DuplicateKey => "a key of the map occurs more than once",
            Self::WrongWireType => "the value is not encoded as the field's type is",
            Self::OutOfRange => "the value does not fit the field's type",
            Self::NotUtf8 => "the text is not valid UTF-8",
        }
    }
}
