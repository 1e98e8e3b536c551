//! What must hold of a descriptor set before prost-reflect may see it: it panics on protobuf editions.

use bytes::Buf as _;
use prost::encoding::{DecodeContext, WireType, check_wire_type, decode_key, decode_varint, skip_field};

use super::{ContractError, DESCRIPTOR_SET_BYTES_MAX, Excess};

/// `google.protobuf.FileDescriptorSet.file`.
const FILE: u32 = 1;
/// `google.protobuf.FileDescriptorProto.syntax`.
const SYNTAX: u32 = 12;
/// `google.protobuf.FileDescriptorProto.edition`.
const EDITION: u32 = 14;

/// Checks the size of a descriptor set and the syntax of each of its files.
pub(super) fn check(descriptor_set: &[u8]) -> Result<(), ContractError> {
    if descriptor_set.len() > DESCRIPTOR_SET_BYTES_MAX {
        return Err(ContractError::excess(Excess::DescriptorSetSize, "the descriptor set"));
    }
    let mut rest = descriptor_set;
    while !rest.is_empty() {
        let (number, wire) = decode_key(&mut rest).map_err(unreadable)?;
        if number != FILE {
            return Err(ContractError::Unreadable);
        }
        check_file(delimited(wire, &mut rest)?)?;
    }
    Ok(())
}

fn check_file(mut rest: &[u8]) -> Result<(), ContractError> {
    while !rest.is_empty() {
        let (number, wire) = decode_key(&mut rest).map_err(unreadable)?;
        match number {
            SYNTAX if !matches!(delimited(wire, &mut rest)?, b"" | b"proto2" | b"proto3") => {
                return Err(ContractError::Syntax);
            }
            SYNTAX => {}
            EDITION => return Err(ContractError::Syntax),
            _ => skip_field(wire, number, &mut rest, DecodeContext::default()).map_err(unreadable)?,
        }
    }
    Ok(())
}

fn delimited<'b>(wire: WireType, rest: &mut &'b [u8]) -> Result<&'b [u8], ContractError> {
    check_wire_type(WireType::LengthDelimited, wire).map_err(unreadable)?;
    let len = decode_varint(rest).map_err(unreadable)?;
    let len = usize::try_from(len).ok().filter(|len| *len <= rest.len()).ok_or(ContractError::Unreadable)?;
    let (taken, _) = rest.split_at(len);
    rest.advance(len);
    Ok(taken)
}

fn unreadable(_: prost::DecodeError) -> ContractError {
    ContractError::Unreadable
}
