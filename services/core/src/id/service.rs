//! What is called: protobuf packages, services and methods.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::IdError;

/// The longest full name taken. **Units:** bytes.
const NAME_LEN_MAX: usize = 255;

/// A protobuf package, for example `kg.socialfund.v1`.
///
/// **Limits:** identifiers separated by dots, at most 255 bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackageName(Arc<str>);

impl PackageName {
    /// Reads a package name.
    ///
    /// # Errors
    /// [`IdError`] when the text is not dotted protobuf identifiers.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        check_dotted("package", text, 1)?;
        Ok(Self(text.into()))
    }

    /// The package as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `other` is this package or lies beneath it; `kg.fund` does not hold `kg.funds`.
    pub fn holds(&self, other: &Self) -> bool {
        other.0.strip_prefix(&*self.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }
}

/// A service by its full name, for example `kg.socialfund.v1.PensionService`.
///
/// **Limits:** a package and a name, at most 255 bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceName(Arc<str>);

impl ServiceName {
    /// Reads a service's full name.
    ///
    /// # Errors
    /// [`IdError`] when the text is not a package and a name.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        check_dotted("service", text, 2)?;
        Ok(Self(text.into()))
    }

    /// The full name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The package that the service belongs to.
    pub fn package(&self) -> PackageName {
        let end = self.0.rfind('.').unwrap_or(self.0.len());
        PackageName(self.0[..end].into())
    }
}

/// A method of a service. Its gRPC path is `/service/method` (gRPC over HTTP/2, "Path").
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MethodId {
    service: ServiceName,
    method: Arc<str>,
}

impl MethodId {
    /// Names the method `method` of `service`.
    ///
    /// # Errors
    /// [`IdError`] when `method` is not a protobuf identifier.
    pub fn new(service: ServiceName, method: &str) -> Result<Self, IdError> {
        check_identifier("method", method)?;
        Ok(Self { service, method: method.into() })
    }

    /// Reads a gRPC request path. Percent-encoding is not undone: a path that needs it names no method.
    ///
    /// # Errors
    /// [`IdError`] when the path is not `/service/method`.
    pub fn parse_path(path: &str) -> Result<Self, IdError> {
        let shape = IdError { what: "method path", rule: "it must be /service/method" };
        let (service, method) = path.strip_prefix('/').and_then(|rest| rest.split_once('/')).ok_or(shape)?;
        Self::new(ServiceName::parse(service)?, method)
    }

    /// The service that the method belongs to.
    pub fn service(&self) -> &ServiceName {
        &self.service
    }

    /// The method's own name.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The gRPC request path.
    pub fn path(&self) -> String {
        format!("/{}/{}", self.service, self.method)
    }
}

impl fmt::Display for MethodId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.service, self.method)
    }
}

impl fmt::Debug for MethodId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

macro_rules! name_text {
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

name_text!(PackageName, ServiceName);

fn check_dotted(what: &'static str, text: &str, parts_min: usize) -> Result<(), IdError> {
    if text.len() > NAME_LEN_MAX {
        return Err(IdError { what, rule: "it takes at most 255 bytes" });
    }
    let mut parts = 0;
    for part in text.split('.') {
        check_identifier(what, part)?;
        parts += 1;
    }
    if parts < parts_min { Err(IdError { what, rule: "it must name its package" }) } else { Ok(()) }
}

fn check_identifier(what: &'static str, text: &str) -> Result<(), IdError> {
    let valid = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let starts_well = text.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
    if valid && starts_well && text.len() <= NAME_LEN_MAX {
        Ok(())
    } else {
        Err(IdError { what, rule: "it must be made of protobuf identifiers" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_a_method() {
        let method = MethodId::parse_path("/kg.socialfund.v1.PensionService/GetPensionInfo").unwrap();
        assert_eq!(method.service().package().as_str(), "kg.socialfund.v1");
        assert_eq!(method.method(), "GetPensionInfo");
        assert_eq!(method.path(), "/kg.socialfund.v1.PensionService/GetPensionInfo");
    }

    #[test]
    fn what_names_no_method_is_refused() {
        let paths = [
            "",
            "/",
            "a.B/C",
            "/a.B",
            "/a.B/",
            "/B/C",
            "/a.B/C/D",
            "/a..B/C",
            "/a.B/C%2fD",
            "/a.B/1C",
            "//C",
        ];
        for path in paths {
            assert!(MethodId::parse_path(path).is_err(), "{path:?} was accepted");
        }
    }

    #[test]
    fn a_package_holds_what_lies_beneath_it() {
        let fund = PackageName::parse("kg.fund").unwrap();
        assert!(fund.holds(&fund));
        assert!(fund.holds(&PackageName::parse("kg.fund.v1").unwrap()));
        assert!(!fund.holds(&PackageName::parse("kg.funds").unwrap()));
        assert!(!PackageName::parse("kg.fund.v1").unwrap().holds(&fund));
    }
}
