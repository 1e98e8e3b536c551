//! Bounds on CEL. The library parses and evaluates by recursion and without a budget, so that deep or multiplying
//! expressions are refused before a payload meets them.
//!
//! **Source:** measured in a debug build; the parser takes 256 KiB of stack for each level of brackets and 64 KiB for
//! each operator of a chain, evaluation 34 KiB for each level; three nested `all()` over 275 bytes run for seconds.

use cel::Program;
use cel::common::ast::{ComprehensionExpr, EntryExpr, Expr, IdedEntryExpr, IdedExpr};

use super::Excess;

/// The longest expression. **Units:** bytes.
const SOURCE_BYTES_MAX: usize = 1_024;
/// How many brackets may open, and how many characters of operators there may be, counting those within text. It
/// bounds the parser's stack, to 24 MiB.
const BRACKETS_MAX: usize = 64;
const OPERATORS_MAX: usize = 128;
/// How deep the parsed expression may be. It bounds the stack of evaluation.
const DEPTH_MAX: usize = 24;

/// Why an expression is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Excess(Excess),
    /// What the parser says.
    Unparsable(String),
}

/// Checks that an expression is short, shallow, and runs through its data once. It wants a deep stack.
pub(super) fn check(source: &str) -> Result<(), Refused> {
    let count = |set: &[u8]| source.bytes().filter(|byte| set.contains(byte)).count();
    if source.len() > SOURCE_BYTES_MAX {
        return Err(Refused::Excess(Excess::CelSize));
    }
    if count(b"([{") > BRACKETS_MAX || count(b"!-+*/%<>=&|?.") > OPERATORS_MAX {
        return Err(Refused::Excess(Excess::CelDepth));
    }
    let program = Program::compile(source).map_err(|errors| Refused::Unparsable(errors.to_string()))?;
    Place { depth: 1, repeated: false }.visit(program.expression()).map_err(Refused::Excess)
}

/// Where in an expression.
#[derive(Clone, Copy)]
struct Place {
    depth: usize,
    /// Whether it is evaluated once for every element of something.
    repeated: bool,
}

impl Place {
    /// Recursion ends at [`DEPTH_MAX`].
    fn visit(self, expression: &IdedExpr) -> Result<(), Excess> {
        if self.depth > DEPTH_MAX {
            return Err(Excess::CelDepth);
        }
        let below = Self { depth: self.depth + 1, ..self };
        match &expression.expr {
            Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => Ok(()),
            Expr::Select(select) => below.visit(&select.operand),
            Expr::Call(call) => below.visit_all(call.target.as_deref().into_iter().chain(&call.args)),
            Expr::List(list) => below.visit_all(&list.elements),
            Expr::Map(map) => below.visit_entries(&map.entries),
            Expr::Struct(made) => below.visit_entries(&made.entries),
            Expr::Comprehension(_) if self.repeated => Err(Excess::CelComprehension),
            Expr::Comprehension(comprehension) => below.visit_comprehension(comprehension),
        }
    }

    fn visit_all<'e>(self, expressions: impl IntoIterator<Item = &'e IdedExpr>) -> Result<(), Excess> {
        expressions.into_iter().try_for_each(|expression| self.visit(expression))
    }

    fn visit_entries(self, entries: &[IdedEntryExpr]) -> Result<(), Excess> {
        entries.iter().try_for_each(|entry| match &entry.expr {
            EntryExpr::StructField(field) => self.visit(&field.value),
            EntryExpr::MapEntry(entry) => self.visit_all([&entry.key, &entry.value]),
        })
    }

    fn visit_comprehension(self, comprehension: &ComprehensionExpr) -> Result<(), Excess> {
        let ComprehensionExpr { iter_range, accu_init, loop_cond, loop_step, result, .. } = comprehension;
        let repeated = Self { repeated: true, ..self };
        self.visit_all([iter_range, accu_init, result])?;
        repeated.visit_all([loop_cond, loop_step])
    }
}

#[cfg(test)]
mod tests {
    use super::super::on_deep_stack;
    use super::*;

    fn check(source: &str) -> Result<(), Refused> {
        on_deep_stack(|| super::check(source)).unwrap().unwrap()
    }

    #[test]
    fn ordinary_expressions_pass() {
        for source in [
            "this.begin_date <= this.end_date",
            "this.items.all(item, item.amount > 0) && this.items.exists(item, item.main)",
            "this.items.map(item, item.id).unique()",
            "this.items.filter(item, item.main).all(item, item.id != '')",
            r"this.plate.matches(r'^\d{2}[(){}\[\]]') ? '' : 'plate \'x\' is malformed'",
            "has(this.map) ? this.filter == 1 : this.all == 2 // (((((((((((((((((((((((((",
            "this.a != '' && this.b != '' && this.c != '' && this.d != '' && this.e != '' && this.f != ''",
        ] {
            assert_eq!(check(source), Ok(()), "{source}");
        }
    }

    #[test]
    fn what_costs_too_much_is_refused() {
        let excess = |source: &str| match check(source) {
            Err(Refused::Excess(excess)) => Some(excess),
            Ok(()) | Err(Refused::Unparsable(_)) => None,
        };
        let negated = |times| format!("{}true{}", "!(".repeat(times), ")".repeat(times));
        assert_eq!(excess(&negated(DEPTH_MAX - 1)), None);
        assert_eq!(excess(&negated(DEPTH_MAX)), Some(Excess::CelDepth));
        assert_eq!(excess(&format!("1{}", "+1".repeat(DEPTH_MAX))), Some(Excess::CelDepth));
        assert_eq!(excess(&"(".repeat(BRACKETS_MAX + 1)), Some(Excess::CelDepth));
        assert_eq!(excess(&"!".repeat(OPERATORS_MAX + 1)), Some(Excess::CelDepth));
        assert_eq!(excess(&" ".repeat(SOURCE_BYTES_MAX + 1)), Some(Excess::CelSize));
        for source in [
            "this.a.all(x, this.b.all(y, x != y))",
            "this.a.exists (x, (this.b).map(y, y).size() > 0)",
            "this.a.all(x, x == ')' && this.b.exists_one(y, y))",
            r"this.a.filter(x, x == r'\' && this.b.all(y, y == ''))",
            "this.a.map(x, // )\nthis.b.all(y, y))",
            "this.a.map(x, this.b.all(y, y), x)",
        ] {
            assert_eq!(excess(source), Some(Excess::CelComprehension), "{source}");
        }
    }

    #[test]
    fn what_does_not_parse_is_told() {
        for source in ["", "this >", "((", "'"] {
            assert!(matches!(check(source), Err(Refused::Unparsable(_))), "{source}");
        }
    }
}
