//! The path of a field in a payload, found only once something is wrong with it.

use std::fmt::Write as _;

use super::Frame;
use super::plan::{MessagePlan, Occurs};
use super::wire::Reader;

/// What is wrong within the message on top.
#[derive(Clone, Copy, Debug)]
pub(super) enum Leaf {
    /// The message itself.
    Message,
    /// The field of this number whose tag starts at `tag_at`.
    Field { number: u32, tag_at: usize },
}

/// The path of `leaf` within the innermost of `frames`: names, indexes of repeated fields, `[*]` for map entries,
/// and the bare number of a field that the contract lacks.
pub(super) fn of(payload: &[u8], frames: &[Frame<'_>], leaf: Leaf) -> String {
    let mut path = String::new();
    for pair in frames.windows(2) {
        if let [parent, child] = pair {
            push(&mut path, payload, parent, child.number, child.tag_at);
        }
    }
    match (leaf, frames.last()) {
        (Leaf::Field { number, tag_at }, Some(top)) => push(&mut path, payload, top, number, tag_at),
        (Leaf::Field { .. } | Leaf::Message, _) => {}
    }
    path
}

fn push(path: &mut String, payload: &[u8], parent: &Frame<'_>, number: u32, tag_at: usize) {
    if !path.is_empty() {
        path.push('.');
    }
    let written = match parent.plan.field(number) {
        None => write!(path, "{number}"),
        Some(field) => match field.occurs {
            Occurs::Once { .. } => write!(path, "{}", field.name),
            Occurs::Map => write!(path, "{}[*]", field.name),
            Occurs::Repeated => {
                write!(
                    path,
                    "{}[{}]",
                    field.name,
                    occurrences(payload, parent.plan, number, parent.start, tag_at)
                )
            }
        },
    };
    written.expect("writing to a string does not fail");
}

/// How often the field occurs between `start` and `end`, all of which has been read. The items of a packed field
/// count as one, since a broken one need not tell where its items are.
fn occurrences(payload: &[u8], plan: &MessagePlan, number: u32, start: usize, end: usize) -> usize {
    debug_assert!(plan.field(number).is_some());
    let mut reader = Reader::new(payload, start);
    let mut count = 0;
    while reader.at < end {
        let Ok(tag) = reader.tag(end) else { break };
        count += usize::from(tag.number == number);
        if reader.skip(tag.wire, end).is_err() {
            break;
        }
    }
    count
}
