//! Who takes part: the instance, its members, their subsystems.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::IdError;

const INSTANCE_LEN_MAX: usize = 16;
const PART_LEN_MAX: usize = 63;

/// One national bus, for example `KG`.
///
/// **Limits:** 1 to 16 of `[A-Za-z0-9-]`, starting with a letter or digit.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instance(Arc<str>);

impl Instance {
    /// Reads an instance identifier.
    ///
    /// # Errors
    /// [`IdError`] when the text breaks the limits above; the one who wrote it must mend it.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        check_instance(text)?;
        Ok(Self(text.into()))
    }

    /// The identifier as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An agency: instance, member class and member code, for example `KG/GOV/70000005`.
///
/// **Limits:** class and code each match `[A-Za-z0-9][A-Za-z0-9._-]{0,62}`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(Arc<str>);

impl MemberId {
    /// Reads a member identifier.
    ///
    /// # Errors
    /// [`IdError`] when the text is not three valid parts separated by `/`.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        check_parts("member", text, 3)?;
        Ok(Self(text.into()))
    }

    /// The identifier as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The instance that the member belongs to.
    pub fn instance(&self) -> Instance {
        Instance(first_part(&self.0).into())
    }

    /// The subsystem of this member that has the code `code`.
    ///
    /// # Errors
    /// [`IdError`] when `code` is not a valid part.
    pub fn subsystem(&self, code: &str) -> Result<SubsystemId, IdError> {
        SubsystemId::parse(&format!("{self}/{code}"))
    }
}

/// One information system of a member, the unit of identity and access, for example
/// `KG/GOV/70000005/civil-registry`.
///
/// **Limits:** class, member code and subsystem code each match `[A-Za-z0-9][A-Za-z0-9._-]{0,62}`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubsystemId(Arc<str>);

impl SubsystemId {
    /// Reads a subsystem identifier.
    ///
    /// # Errors
    /// [`IdError`] when the text is not four valid parts separated by `/`.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        check_parts("subsystem", text, 4)?;
        Ok(Self(text.into()))
    }

    /// The identifier as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The instance that the subsystem belongs to.
    pub fn instance(&self) -> Instance {
        Instance(first_part(&self.0).into())
    }

    /// The member that owns the subsystem.
    pub fn member(&self) -> MemberId {
        let end = self.0.rfind('/').unwrap_or(self.0.len());
        MemberId(self.0[..end].into())
    }

    /// Whether `member` owns the subsystem.
    pub fn belongs_to(&self, member: &MemberId) -> bool {
        self.0.rfind('/').is_some_and(|end| self.0[..end] == *member.0)
    }
}

macro_rules! text_traits {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::parse(text)
            }
        }
    )*};
}

text_traits!(Instance, MemberId, SubsystemId);

fn first_part(text: &str) -> &str {
    text.split('/').next().unwrap_or(text)
}

fn check_parts(what: &'static str, text: &str, expected: usize) -> Result<(), IdError> {
    let mut count = 0;
    for (index, part) in text.split('/').enumerate() {
        if index == expected {
            return Err(IdError { what, rule: "it has too many parts" });
        }
        match index {
            0 => check_instance(part)?,
            _ => check_part(what, part)?,
        }
        count = index + 1;
    }
    if count == expected { Ok(()) } else { Err(IdError { what, rule: "it has too few parts" }) }
}

fn check_instance(text: &str) -> Result<(), IdError> {
    let what = "instance";
    if text.is_empty() || text.len() > INSTANCE_LEN_MAX {
        return Err(IdError { what, rule: "it takes 1 to 16 characters" });
    }
    let valid = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if valid && !text.starts_with('-') {
        Ok(())
    } else {
        Err(IdError {
            what,
            rule: "it takes letters, digits and '-' only, and starts with a letter or digit",
        })
    }
}

fn check_part(what: &'static str, text: &str) -> Result<(), IdError> {
    if text.is_empty() || text.len() > PART_LEN_MAX {
        return Err(IdError { what, rule: "each part takes 1 to 63 characters" });
    }
    let valid = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
    if valid && text.as_bytes()[0].is_ascii_alphanumeric() {
        Ok(())
    } else {
        Err(IdError { what, rule: "each part takes [A-Za-z0-9._-] and starts with a letter or digit" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subsystem_knows_its_member_and_instance() {
        let subsystem = SubsystemId::parse("KG/GOV/70000005/civil-registry").unwrap();
        let member = subsystem.member();
        assert_eq!(member.as_str(), "KG/GOV/70000005");
        assert_eq!(subsystem.instance().as_str(), "KG");
        assert_eq!(member.instance(), subsystem.instance());
        assert!(subsystem.belongs_to(&member));
        assert_eq!(member.subsystem("civil-registry").unwrap(), subsystem);
        assert!(!subsystem.belongs_to(&MemberId::parse("KG/GOV/7000000").unwrap()));
    }

    #[test]
    fn what_is_not_a_subsystem_is_refused() {
        let long = "x".repeat(64);
        let texts = [
            "",
            "KG",
            "KG/GOV/70000005",
            "KG/GOV/70000005/a/b",
            "KG/GOV//a",
            "/GOV/1/a",
            "K.G/GOV/1/a",
            "K_G/GOV/1/a",
            "-KG/GOV/1/a",
            "ABCDEFGHIJKLMNOPQ/GOV/1/a",
            "KG/GOV/1/-a",
            "KG/GOV/1/.a",
            "KG/GOV/1/a b",
            "KG/GOV/1/регистр",
            "KG/GOV/1/a%2Fb",
            "KG/GOV/1/a\n",
            &format!("KG/GOV/1/{long}"),
        ];
        for text in texts {
            assert!(SubsystemId::parse(text).is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn the_longest_parts_are_accepted() {
        let part = "x".repeat(63);
        let text = format!("ABCDEFGHIJKLMNOP/{part}/{part}/{part}");
        assert_eq!(SubsystemId::parse(&text).unwrap().as_str(), text);
    }
}
