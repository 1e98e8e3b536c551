//! Bounds on CEL source. The CEL library parses and evaluates by recursion and without a budget, so deep or
//! multiplying expressions are refused before it sees them.
//!
//! **Source:** measured; 8 KB of nested brackets overflow a stack of 2 MiB, three nested `all()` run for seconds.

use super::Excess;

/// The longest expression. **Units:** bytes.
const SOURCE_BYTES_MAX: usize = 1_024;
/// How deep brackets may nest.
const BRACKETS_MAX: usize = 16;
/// How many operators an expression may have; a chain of them is as deep as it is long.
const OPERATORS_MAX: usize = 64;
const OPERATORS: &[u8] = b"!-+*/%<>=&|?.";
/// The macros that run their last argument once for every element.
const COMPREHENSIONS: [&[u8]; 9] = [
    b"all",
    b"exists",
    b"exists_one",
    b"existsOne",
    b"filter",
    b"map",
    b"transformList",
    b"transformMap",
    b"transformMapEntry",
];

/// Checks that an expression is short, shallow, and runs through its data once.
pub(super) fn check(source: &str) -> Result<(), Excess> {
    if source.len() > SOURCE_BYTES_MAX {
        return Err(Excess::CelSize);
    }
    let mut open = Open::default();
    let mut operators = 0;
    let mut rest = source.as_bytes();
    while let [byte, tail @ ..] = rest {
        rest = match byte {
            b'"' | b'\'' => after_text(rest, false),
            b'/' if tail.first() == Some(&b'/') => after_comment(rest),
            b'_' | b'a'..=b'z' | b'A'..=b'Z' => {
                let (word, after) = rest.split_at(word_len(rest));
                open.comprehension_next = COMPREHENSIONS.contains(&word) && next_is_bracket(after);
                operators += usize::from(word == b"in");
                if is_raw_prefix(word, after) { after_text(after, true) } else { after }
            }
            b'(' | b'[' | b'{' => {
                open.push()?;
                tail
            }
            b')' | b']' | b'}' => {
                open.pop();
                tail
            }
            operator if OPERATORS.contains(operator) => {
                operators += 1;
                tail
            }
            _ => tail,
        };
    }
    if operators > OPERATORS_MAX { Err(Excess::CelNesting) } else { Ok(()) }
}

/// The brackets that are open.
#[derive(Default)]
struct Open {
    depth: usize,
    /// At which depth a comprehension's argument list was opened.
    comprehension_at: Option<usize>,
    /// Whether the next bracket opens one.
    comprehension_next: bool,
}

impl Open {
    fn push(&mut self) -> Result<(), Excess> {
        self.depth += 1;
        if self.depth > BRACKETS_MAX {
            return Err(Excess::CelNesting);
        }
        if std::mem::take(&mut self.comprehension_next) {
            if self.comprehension_at.is_some() {
                return Err(Excess::CelComprehension);
            }
            self.comprehension_at = Some(self.depth);
        }
        Ok(())
    }

    fn pop(&mut self) {
        if self.comprehension_at == Some(self.depth) {
            self.comprehension_at = None;
        }
        self.depth = self.depth.saturating_sub(1);
    }
}

fn word_len(source: &[u8]) -> usize {
    source.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count()
}

fn next_is_bracket(source: &[u8]) -> bool {
    source.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'(')
}

/// Whether a quote follows that starts a raw literal, such as `r"\d"` or `br'x'`.
fn is_raw_prefix(word: &[u8], after: &[u8]) -> bool {
    let quoted = matches!(after.first(), Some(b'"' | b'\''));
    quoted && word.len() <= 2 && word.iter().any(|byte| byte.eq_ignore_ascii_case(&b'r'))
}

/// What follows the text literal that `source` starts with. An unterminated one takes all the rest, and does not
/// compile.
fn after_text(source: &[u8], raw: bool) -> &[u8] {
    let quote = source[0];
    let triple = [quote; 3];
    let end: &[u8] = if source.starts_with(&triple) { &triple } else { &triple[..1] };
    let mut rest = &source[end.len()..];
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(end) {
            return after;
        }
        let step = if rest[0] == b'\\' && !raw { 2 } else { 1 };
        rest = rest.get(step..).unwrap_or_default();
    }
    rest
}

fn after_comment(source: &[u8]) -> &[u8] {
    let line = source.iter().take_while(|byte| **byte != b'\n').count();
    &source[line..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_expressions_pass() {
        for source in [
            "this.begin_date <= this.end_date",
            "this.items.all(item, item.amount > 0) && this.items.exists(item, item.main)",
            "this.items.map(item, item.id).unique()",
            r"this.plate.matches(r'^\d{2}[(){}\[\]]') ? '' : 'plate \'x\' is malformed'",
            "has(this.map) ? this.filter == 1 : this.all == 2 // (((((((((((((((((((((((((",
        ] {
            assert_eq!(check(source), Ok(()), "{source}");
        }
    }

    #[test]
    fn what_costs_too_much_is_refused() {
        let nested = |depth| format!("{}1{}", "(".repeat(depth), ")".repeat(depth));
        assert_eq!(check(&nested(BRACKETS_MAX)), Ok(()));
        assert_eq!(check(&nested(BRACKETS_MAX + 1)), Err(Excess::CelNesting));
        assert_eq!(check(&"!".repeat(OPERATORS_MAX + 1)), Err(Excess::CelNesting));
        assert_eq!(check(&" ".repeat(SOURCE_BYTES_MAX + 1)), Err(Excess::CelSize));
        for source in [
            "this.a.all(x, this.b.all(y, x != y))",
            "this.a.exists (x, (this.b).map(y, y).size() > 0)",
            "this.a.all(x, x == ')' && this.b.all(y, y))",
            r"this.a.all(x, x == r'\' && this.b.all(y, y == ''))",
            r#"this.a.all(x, x == """ " ) """ && this.b.all(y, y))"#,
            "this.a.all(x, // )\nthis.b.all(y, y))",
        ] {
            assert_eq!(check(source), Err(Excess::CelComprehension), "{source}");
        }
    }
}
