//! File descriptors cut to what a caller may call, found by name and by symbol.

use std::collections::{BTreeSet, HashMap};

use bytes::{Buf as _, Bytes};
use prost::Message as _;
use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint};
use prost_types::{DescriptorProto, FileDescriptorProto};

use super::Shown;

/// `google.protobuf.FileDescriptorSet.file`.
const SET_FILE: u32 = 1;
/// `google.protobuf.FileDescriptorProto.service`.
const FILE_SERVICE: u32 = 6;
/// `google.protobuf.ServiceDescriptorProto.name`.
const SERVICE_NAME: u32 = 1;
/// `google.protobuf.ServiceDescriptorProto.method`.
const SERVICE_METHOD: u32 = 2;
/// `google.protobuf.MethodDescriptorProto.name`.
const METHOD_NAME: u32 = 1;
/// How deep message types are looked into.
const NESTING_MAX: usize = 64;

/// Why a descriptor set cannot be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilesError {
    /// The bytes are no descriptor set.
    #[error("the descriptor set is malformed")]
    Malformed,
}

/// File descriptors by name and by symbol, and the services that can be called.
#[derive(Clone, Debug, Default)]
pub struct Files {
    services: BTreeSet<String>,
    files: HashMap<String, Bytes>,
    symbols: HashMap<String, String>,
}

impl Files {
    /// The files of what is shown. A file that several contracts bring along is taken from the first.
    ///
    /// # Errors
    /// [`FilesError`].
    pub fn of(shown: &[Shown]) -> Result<Self, FilesError> {
        let mut files = Self::default();
        for shown in shown {
            files.add(shown)?;
        }
        Ok(files)
    }

    /// The services that can be called, by full name.
    pub fn services(&self) -> impl Iterator<Item = &str> {
        self.services.iter().map(String::as_str)
    }

    /// A file by its name.
    pub fn by_name(&self, name: &str) -> Option<&Bytes> {
        self.files.get(name)
    }

    /// The file that defines a service, method, message, enum or extension.
    pub fn by_symbol(&self, symbol: &str) -> Option<&Bytes> {
        self.symbols.get(symbol).and_then(|file| self.files.get(file))
    }

    fn add(&mut self, shown: &Shown) -> Result<(), FilesError> {
        for (number, file) in fields(&shown.descriptor_set)? {
            let Field::Bytes(file) = file else { continue };
            if number != SET_FILE {
                continue;
            }
            let names = FileDescriptorProto::decode(file.clone()).map_err(|_| FilesError::Malformed)?;
            if !self.files.contains_key(names.name()) {
                let cut = cut_file(&file, names.package(), shown)?;
                self.index(&FileDescriptorProto::decode(cut.clone()).map_err(|_| FilesError::Malformed)?);
                self.files.insert(names.name().to_owned(), cut);
            }
        }
        Ok(())
    }

    fn index(&mut self, file: &FileDescriptorProto) {
        let mut symbols = Vec::new();
        for service in &file.service {
            let name = full_name(file.package(), service.name());
            symbols.extend(service.method.iter().map(|method| full_name(&name, method.name())));
            self.services.insert(name.clone());
            symbols.push(name);
        }
        symbols.extend(file.enum_type.iter().map(|each| full_name(file.package(), each.name())));
        symbols.extend(file.extension.iter().map(|each| full_name(file.package(), each.name())));
        for message in &file.message_type {
            collect(file.package(), message, NESTING_MAX, &mut symbols);
        }
        self.symbols.extend(symbols.into_iter().map(|symbol| (symbol, file.name().to_owned())));
    }
}

fn collect(scope: &str, message: &DescriptorProto, depth: usize, symbols: &mut Vec<String>) {
    let name = full_name(scope, message.name());
    symbols.extend(message.enum_type.iter().map(|each| full_name(&name, each.name())));
    symbols.extend(message.extension.iter().map(|each| full_name(&name, each.name())));
    if depth > 0 {
        for nested in &message.nested_type {
            collect(&name, nested, depth - 1, symbols);
        }
    }
    symbols.push(name);
}

fn full_name(scope: &str, name: &str) -> String {
    if scope.is_empty() { name.to_owned() } else { format!("{scope}.{name}") }
}

/// The file without the services and methods that are not shown.
fn cut_file(file: &Bytes, package: &str, shown: &Shown) -> Result<Bytes, FilesError> {
    let keep = |number: u32, field: &Field| -> Result<Option<Field>, FilesError> {
        let (FILE_SERVICE, Field::Bytes(service)) = (number, field) else { return Ok(Some(field.clone())) };
        let name = full_name(package, &name_of(service, SERVICE_NAME)?);
        let Some(methods) = shown.methods.get(&name) else { return Ok(None) };
        cut_service(service, methods).map(|cut| Some(Field::Bytes(cut)))
    };
    rewrite(file, keep)
}

fn cut_service(service: &Bytes, methods: &BTreeSet<String>) -> Result<Bytes, FilesError> {
    let keep = |number: u32, field: &Field| -> Result<Option<Field>, FilesError> {
        let (SERVICE_METHOD, Field::Bytes(method)) = (number, field) else { return Ok(Some(field.clone())) };
        let shown = methods.contains(&name_of(method, METHOD_NAME)?);
        Ok(shown.then(|| field.clone()))
    };
    rewrite(service, keep)
}

fn name_of(message: &Bytes, name: u32) -> Result<String, FilesError> {
    let last = fields(message)?.into_iter().rev().find(|(number, _)| *number == name);
    match last {
        Some((_, Field::Bytes(text))) => String::from_utf8(text.to_vec()).map_err(|_| FilesError::Malformed),
        Some((_, Field::Other(..))) | None => Err(FilesError::Malformed),
    }
}

/// A field as it stands on the wire.
#[derive(Clone, Debug)]
enum Field {
    /// Length-delimited: its content.
    Bytes(Bytes),
    /// Of another wire type: its value's bytes.
    Other(WireType, Bytes),
}

/// The fields of a message, in order.
fn fields(message: &Bytes) -> Result<Vec<(u32, Field)>, FilesError> {
    let (mut rest, mut found) = (message.clone(), Vec::new());
    while rest.has_remaining() {
        let (number, wire_type) = decode_key(&mut rest).map_err(|_| FilesError::Malformed)?;
        let value = rest.clone();
        let length = match wire_type {
            WireType::LengthDelimited => {
                let length = decode_varint(&mut rest).map_err(|_| FilesError::Malformed)?;
                usize::try_from(length).map_err(|_| FilesError::Malformed)?
            }
            WireType::Varint => {
                decode_varint(&mut rest).map_err(|_| FilesError::Malformed)?;
                0
            }
            WireType::SixtyFourBit => 8,
            WireType::ThirtyTwoBit => 4,
            WireType::StartGroup | WireType::EndGroup => return Err(FilesError::Malformed),
        };
        if length > rest.remaining() {
            return Err(FilesError::Malformed);
        }
        let field = if wire_type == WireType::LengthDelimited {
            Field::Bytes(rest.split_to(length))
        } else {
            rest.advance(length);
            Field::Other(wire_type, value.slice(..value.len() - rest.len()))
        };
        found.push((number, field));
    }
    Ok(found)
}

/// The message with each field as `keep` gives it back, or without it.
fn rewrite(
    message: &Bytes,
    keep: impl Fn(u32, &Field) -> Result<Option<Field>, FilesError>,
) -> Result<Bytes, FilesError> {
    let mut written = Vec::with_capacity(message.len());
    for (number, field) in fields(message)? {
        match keep(number, &field)? {
            Some(Field::Bytes(content)) => {
                encode_key(number, WireType::LengthDelimited, &mut written);
                encode_varint(content.len() as u64, &mut written);
                written.extend_from_slice(&content);
            }
            Some(Field::Other(wire_type, value)) => {
                encode_key(number, wire_type, &mut written);
                written.extend_from_slice(&value);
            }
            None => {}
        }
    }
    Ok(written.into())
}
