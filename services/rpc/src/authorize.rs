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
        let missing = defined.iter().filter(|path| !self.rules.contains_key(path.as_str())).cloned().collect();
        let of_services = |path: &&&str| {
            services.iter().any(|service| path.strip_prefix('/').is_some_and(|rest| rest.starts_with(service)))
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
