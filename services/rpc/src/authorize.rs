//! Who may call the services of the bus itself. What is not in the table is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use http::Response;
use kopuro_core::error::{Reason, Refusal};
use kopuro_core::id::MethodId;
use prost::Message as _;
use prost_types::FileDescriptorSet;

use crate::callers::Caller;
use crate::refusals::{Facts, Refusals};

/// Who may call a method. A peer that could not be identified may call none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// Whoever has a registered key.
    AnyCaller,
    /// Systems and gateways that speak for a subsystem.
    AnySubsystem,
    /// Gateways only.
    Gateways,
}

impl Rule {
    fn admits(self, caller: &Caller) -> bool {
        match self {
            Self::AnyCaller => true,
            Self::AnySubsystem => !caller.subsystems.is_empty(),
            Self::Gateways => caller.gateway.is_some(),
        }
    }
}

/// One rule for each method, by its gRPC path.
#[derive(Clone, Debug, Default)]
pub struct Table {
    rules: BTreeMap<&'static str, Rule>,
}

impl Table {
    /// The table with these rows: path and rule.
    pub fn new(rows: impl IntoIterator<Item = (&'static str, Rule)>) -> Self {
        Self { rules: rows.into_iter().collect() }
    }

    /// The rows of both tables.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.rules.extend(other.rules);
        self
    }

    /// Whether `caller` may call the method at `path`.
    ///
    /// # Errors
    /// [`Reason::MethodUnknown`] when the table has no such method; [`Reason::AccessDenied`] when its rule does not
    /// admit the caller; [`Reason::CertificateRequired`] when nobody was identified.
    pub fn check(&self, path: &str, caller: Option<&Caller>) -> Result<(), Reason> {
        let rule = self.rules.get(path).ok_or(Reason::MethodUnknown)?;
        let caller = caller.ok_or(Reason::CertificateRequired)?;
        if rule.admits(caller) { Ok(()) } else { Err(Reason::AccessDenied) }
    }

    /// Puts the table before the services of `router`. A fallback is to be set afterwards, or is guarded as well.
    pub fn guard(self, router: Router, refusals: Arc<Refusals>) -> Router {
        router.layer(middleware::from_fn_with_state(Arc::new((self, refusals)), guarded))
    }

    /// How the table differs from the methods that an encoded descriptor set defines in `services`: the paths of those
    /// that it lacks, and its own paths that name none of them. Both are empty in a table that is complete.
    ///
    /// # Panics
    /// When the bytes are no descriptor set; the function is for tests.
    pub fn differences(&self, descriptor_set: &[u8], services: &[&str]) -> [Vec<String>; 2] {
        let defined = paths(descriptor_set, services);
        let missing =
            defined.iter().filter(|path| !self.rules.contains_key(path.as_str())).cloned().collect();
        let of_services = |path: &&&str| {
            services
                .iter()
                .any(|service| path.strip_prefix('/').is_some_and(|rest| rest.starts_with(service)))
        };
        let own = self.rules.keys().filter(of_services);
        let unknown = own.filter(|path| !defined.contains(**path)).map(ToString::to_string).collect();
        [missing, unknown]
    }
}

async fn guarded(
    State(guard): State<Arc<(Table, Arc<Refusals>)>>,
    request: Request,
    next: Next,
) -> Response<Body> {
    let (table, refusals) = &*guard;
    let caller = request.extensions().get::<Arc<Caller>>();
    match table.check(request.uri().path(), caller.map(Arc::as_ref)) {
        Ok(()) => next.run(request).await,
        Err(reason) => {
            let consumer = caller.and_then(|caller| caller.subsystems.first().cloned());
            let method = MethodId::parse_path(request.uri().path()).ok();
            let facts = Facts { consumer, method, provider: None };
            refusals.refuse(&refusals.begin(), &Refusal::new(reason), facts)
        }
    }
}

fn paths(descriptor_set: &[u8], services: &[&str]) -> BTreeSet<String> {
    let set = FileDescriptorSet::decode(descriptor_set).expect("a descriptor set of the bus can be read");
    let mut paths = BTreeSet::new();
    for file in &set.file {
        for service in &file.service {
            let name = format!("{}.{}", file.package(), service.name());
            if services.contains(&name.as_str()) {
                paths.extend(service.method.iter().map(|method| format!("/{name}/{}", method.name())));
            }
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use axum::Extension;
    use http::StatusCode;
    use kopuro_core::digest::KeyId;
    use kopuro_telemetry::clock::SystemClock;
    use kopuro_telemetry::metrics::Metrics;
    use tonic::Status;
    use tower::ServiceExt as _;

    use super::*;
    use crate::testing::{Audit, reason, subsystem};

    fn caller(gateway: bool, speaks: bool) -> Caller {
        Caller {
            key_id: KeyId::of_spki(b"key"),
            subsystems: if speaks { vec![subsystem()] } else { Vec::new() },
            gateway: gateway.then(|| "gateway-a".to_owned()),
            member: None,
        }
    }

    #[test]
    fn a_rule_admits_whom_it_says() {
        let table = Table::new([
            ("/a.B/Any", Rule::AnyCaller),
            ("/a.B/Speaks", Rule::AnySubsystem),
            ("/a.B/Gateway", Rule::Gateways),
        ]);
        let (system, gateway, bare) = (caller(false, true), caller(true, true), caller(false, false));
        for (path, admitted) in [
            ("/a.B/Any", [true; 3]),
            ("/a.B/Speaks", [true, true, false]),
            ("/a.B/Gateway", [false, true, false]),
        ] {
            for (caller, admitted) in [&system, &gateway, &bare].into_iter().zip(admitted) {
                assert_eq!(table.check(path, Some(caller)).is_ok(), admitted, "{path} {caller:?}");
            }
            assert_eq!(table.check(path, None), Err(Reason::CertificateRequired));
        }
        for path in ["/a.B/Other", "/a.B/any", "/a.B/Any/", "/a.B/Any%20", ""] {
            assert_eq!(table.check(path, Some(&gateway)), Err(Reason::MethodUnknown), "{path}");
        }
    }

    #[tokio::test]
    async fn what_is_not_in_the_table_is_not_reached() {
        let refusals = Refusals::new(Metrics::new(), Arc::new(Audit::default()), Arc::new(SystemClock));
        let service = Router::new().route("/a.B/{*method}", axum::routing::any(|| async { "reached" }));
        let guarded = Table::new([("/a.B/C", Rule::AnyCaller)]).guard(service, refusals);
        let guarded = guarded.layer(Extension(Arc::new(caller(false, true))));
        let ask = |path: &str| guarded.clone().oneshot(Request::post(path).body(Body::empty()).unwrap());
        assert_eq!(ask("/a.B/C").await.unwrap().status(), StatusCode::OK);
        assert!(Status::from_header_map(ask("/a.B/C").await.unwrap().headers()).is_none());
        let refused = Status::from_header_map(ask("/a.B/D").await.unwrap().headers()).unwrap();
        assert_eq!(reason(&refused), Reason::MethodUnknown);
    }

    #[test]
    fn differences_are_found_both_ways() {
        let table = Table::new([
            ("/grpc.health.v1.Health/Check", Rule::AnyCaller),
            ("/grpc.health.v1.Health/Old", Rule::AnyCaller),
        ]);
        let [missing, unknown] =
            table.differences(tonic_health::pb::FILE_DESCRIPTOR_SET, &["grpc.health.v1.Health"]);
        assert_eq!(
            (missing, unknown),
            (vec!["/grpc.health.v1.Health/Watch".to_owned()], vec!["/grpc.health.v1.Health/Old".to_owned()])
        );
    }
}
