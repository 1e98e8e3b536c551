//! The strict scan of a payload's wire bytes against its message type.
//!
//! It refuses what two protobuf decoders could read differently, so that a payload means the same to both
//! agencies, to the rules and to every tool: unknown fields, singular fields and oneofs that occur twice, map keys
//! that occur twice, values of another wire type, integers that do not fit their type, `bool` other than 0 and 1,
//! text that is not UTF-8, groups, lengths that run over. Repeated scalars are taken packed and unpacked, as
//! protobuf has it; varints need not be minimal; undefined enum values are left to the rules. What lies inside a
//! `google.protobuf.Any` is bytes.
//!
//! One pass, no recursion, and no allocation for a payload that is accepted, save for the keys of maps.

mod defect;
mod key;
mod path;
mod plan;
mod wire;

use std::borrow::Cow;
use std::collections::HashSet;
use std::str;

use self::defect::Defect;
use self::key::{Key, KeyValue};
use self::path::Leaf;
use self::plan::{FieldPlan, MessagePlan, Occurs, Range, SINGULAR_FIELDS_MAX, Value};
use self::wire::{Broken, Reader, Tag, WireType};
use crate::violation::{VIOLATIONS_MAX, Violation};

pub(crate) use self::plan::{PlanId, Plans};

/// How deep messages may nest, the outermost counted.
pub(crate) const DEPTH_MAX: usize = 32;

/// What a payload may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanLimits {
    /// The longest payload. **Units:** bytes.
    pub size_bytes_max: usize,
    /// How many messages within the outermost, items of repeated fields and map entries there may be together. A
    /// small payload can cost fifty times its size in memory once decoded; this is what bounds it.
    pub elements_max: usize,
}

impl Default for ScanLimits {
    /// 4 MiB, the usual limit of gRPC, and 10,000 elements.
    fn default() -> Self {
        Self { size_bytes_max: 4 << 20, elements_max: 10_000 }
    }
}

impl Plans {
    /// Scans a payload that should be a message with the plan `root`.
    ///
    /// # Errors
    /// One to [`VIOLATIONS_MAX`] violations. After one that leaves the rest unreadable the scan ends.
    pub(crate) fn scan(
        &self,
        root: PlanId,
        payload: &[u8],
        limits: &ScanLimits,
    ) -> Result<(), Vec<Violation>> {
        let mut scan = Scan::new(self, root, payload, limits);
        // Whether it read to the end or stopped, the violations tell what was found.
        let _stopped = scan.run();
        if scan.violations.is_empty() { Ok(()) } else { Err(scan.violations) }
    }
}

/// The scan ends here; why is among its violations.
struct Stopped;

struct Scan<'p, 'b> {
    plans: &'p Plans,
    limits: &'p ScanLimits,
    payload: &'b [u8],
    reader: Reader<'b>,
    /// The messages being read, the outermost first; `depth` of them are in use.
    frames: [Frame<'p>; DEPTH_MAX],
    depth: usize,
    elements: usize,
    keys: HashSet<Key<'b>>,
    violations: Vec<Violation>,
}

/// A message being read.
#[derive(Clone, Copy)]
struct Frame<'p> {
    plan: &'p MessagePlan,
    /// Where its content starts. No other message starts there, so that this names it.
    start: usize,
    /// Where its content ends.
    end: usize,
    /// The number of the field that it is the value of, and where that field's tag starts.
    number: u32,
    tag_at: usize,
    /// Which slots have been filled.
    seen: [u64; SINGULAR_FIELDS_MAX / 64],
}

impl<'p, 'b> Scan<'p, 'b> {
    fn new(plans: &'p Plans, root: PlanId, payload: &'b [u8], limits: &'p ScanLimits) -> Self {
        let root = Frame::new(plans.get(root), 0, payload.len());
        Self {
            plans,
            limits,
            payload,
            reader: Reader::new(payload, 0),
            frames: [root; DEPTH_MAX],
            depth: 1,
            elements: 0,
            keys: HashSet::new(),
            violations: Vec::new(),
        }
    }

    fn run(&mut self) -> Result<(), Stopped> {
        if self.payload.len() > self.limits.size_bytes_max {
            return self.stop(Defect::TooLarge, Leaf::Message);
        }
        loop {
            if self.reader.at < self.top().end {
                self.field()?;
            } else if self.depth > 1 {
                self.leave()?;
            } else {
                return Ok(());
            }
        }
    }

    /// Reads one field of the message on top.
    fn field(&mut self) -> Result<(), Stopped> {
        let tag_at = self.reader.at;
        let Frame { plan, end, .. } = *self.top();
        let tag = self.reader.tag(end).or_else(|broken| self.broken(broken, Leaf::Message))?;
        let leaf = Leaf::Field { number: tag.number, tag_at };
        let Some(field) = plan.field(tag.number) else {
            self.report(Defect::UnknownField, leaf)?;
            return self.skip(tag.wire, leaf);
        };
        if let Occurs::Once { slot } = field.occurs
            && self.frames[self.depth - 1].fill(slot)
        {
            self.report(Defect::DuplicateField, leaf)?;
        }
        if field.value.wire() == tag.wire {
            if matches!(field.value, Value::Message(_)) || !matches!(field.occurs, Occurs::Once { .. }) {
                self.count_one(leaf)?;
            }
            return self.value(field.value, tag_at, tag, leaf);
        }
        match (tag.wire, field.occurs) {
            (WireType::Len, Occurs::Repeated) => self.packed(field, leaf),
            _ => {
                self.report(Defect::WrongWireType, leaf)?;
                self.skip(tag.wire, leaf)
            }
        }
    }

    /// Reads one value, the wire type being right.
    fn value(&mut self, value: Value, tag_at: usize, tag: Tag, leaf: Leaf) -> Result<(), Stopped> {
        match value {
            Value::Varint(range) => self.varint(range, self.top().end, leaf),
            Value::Fixed32 | Value::Fixed64 | Value::Bytes => self.skip(tag.wire, leaf),
            Value::String => {
                let end = self.len_end(leaf)?;
                match str::from_utf8(self.reader.take(end)) {
                    Ok(_) => Ok(()),
                    Err(_) => self.report(Defect::NotUtf8, leaf),
                }
            }
            Value::Message(plan) => {
                let end = self.len_end(leaf)?;
                self.enter(plan, end, tag_at, tag.number)
            }
        }
    }

    /// Reads the items of a packed repeated field.
    fn packed(&mut self, field: &FieldPlan, leaf: Leaf) -> Result<(), Stopped> {
        let end = self.len_end(leaf)?;
        while self.reader.at < end {
            self.count_one(leaf)?;
            match field.value {
                Value::Varint(range) => self.varint(range, end, leaf)?,
                Value::Fixed32 | Value::Fixed64 => {
                    self.reader.skip(field.value.wire(), end).or_else(|broken| self.broken(broken, leaf))?;
                }
                Value::String | Value::Bytes | Value::Message(_) => {
                    unreachable!("their own wire type is LEN")
                }
            }
        }
        Ok(())
    }

    fn varint(&mut self, range: Range, end: usize, leaf: Leaf) -> Result<(), Stopped> {
        let varint = self.reader.varint(end).or_else(|broken| self.broken(broken, leaf))?;
        if range.holds(varint) { Ok(()) } else { self.report(Defect::OutOfRange, leaf) }
    }

    /// Puts a message on top.
    fn enter(&mut self, plan: PlanId, end: usize, tag_at: usize, number: u32) -> Result<(), Stopped> {
        if self.depth == DEPTH_MAX {
            return self.stop(Defect::TooDeep, Leaf::Field { number, tag_at });
        }
        let frame = Frame::new(self.plans.get(plan), self.reader.at, end);
        self.frames[self.depth] = Frame { number, tag_at, ..frame };
        self.depth += 1;
        Ok(())
    }

    /// Takes the message on top away, all of it being read.
    fn leave(&mut self) -> Result<(), Stopped> {
        let Frame { plan, number, tag_at, .. } = *self.top();
        // With a violation the payload is refused anyway, and the entry might not be readable.
        let key = if plan.map_entry && self.violations.is_empty() {
            Some(KeyValue::of(self.payload, self.top()))
        } else {
            None
        };
        self.depth -= 1;
        if let Some(value) = key {
            let key = Key { message_start: self.top().start, number, value };
            if !self.keys.insert(key) {
                return self.report(Defect::DuplicateKey, Leaf::Field { number, tag_at });
            }
        }
        Ok(())
    }

    fn len_end(&mut self, leaf: Leaf) -> Result<usize, Stopped> {
        let end = self.top().end;
        self.reader.len_end(end).or_else(|broken| self.broken(broken, leaf))
    }

    fn skip(&mut self, wire: WireType, leaf: Leaf) -> Result<(), Stopped> {
        let end = self.top().end;
        self.reader.skip(wire, end).or_else(|broken| self.broken(broken, leaf))
    }

    fn count_one(&mut self, leaf: Leaf) -> Result<(), Stopped> {
        self.elements += 1;
        if self.elements > self.limits.elements_max {
            self.stop(Defect::TooManyElements, leaf)
        } else {
            Ok(())
        }
    }

    fn top(&self) -> &Frame<'p> {
        &self.frames[self.depth - 1]
    }

    /// Notes a violation after which the rest can still be read.
    #[cold]
    fn report(&mut self, defect: Defect, leaf: Leaf) -> Result<(), Stopped> {
        let field_path = path::of(self.payload, &self.frames[..self.depth], leaf);
        let description = Cow::Borrowed(defect.description());
        self.violations.push(Violation { field_path, rule_id: Cow::Borrowed(defect.rule_id()), description });
        if self.violations.len() < VIOLATIONS_MAX { Ok(()) } else { Err(Stopped) }
    }

    /// Notes a violation after which nothing more can or should be read.
    #[cold]
    fn stop<T>(&mut self, defect: Defect, leaf: Leaf) -> Result<T, Stopped> {
        let (Ok(()) | Err(Stopped)) = self.report(defect, leaf);
        Err(Stopped)
    }

    #[cold]
    fn broken<T>(&mut self, broken: Broken, leaf: Leaf) -> Result<T, Stopped> {
        self.stop(Defect::Broken(broken), leaf)
    }
}

impl<'p> Frame<'p> {
    fn new(plan: &'p MessagePlan, start: usize, end: usize) -> Self {
        Self { plan, start, end, number: 0, tag_at: 0, seen: [0; SINGULAR_FIELDS_MAX / 64] }
    }

    /// Fills a slot and tells whether it was full.
    fn fill(&mut self, slot: u16) -> bool {
        let (word, bit) = (usize::from(slot / 64), 1 << (slot % 64));
        let full = self.seen[word] & bit != 0;
        self.seen[word] |= bit;
        full
    }
}

#[cfg(test)]
mod differential;
#[cfg(test)]
mod tests;
