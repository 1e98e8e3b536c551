//! Measures what a view of a large instance costs: `cargo run --release -p kopuro-registry --example view_cost`.
//!
//! Two hundred members have fifty subsystems each; every subsystem has a sealing key and a right to one service.
#![allow(clippy::print_stdout, reason = "it is a command")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use kopuro_core::id::{Instance, MemberId, MethodId, ServiceName, SubsystemId};
use kopuro_core::time::UnixMillis;
use kopuro_proto::registry::v1::registry_record::Resource;
use kopuro_registry::anchor::Anchor;
use kopuro_registry::compose;
use kopuro_registry::record::{Grantee, KeyPurpose};
use kopuro_registry::view::View;
use kopuro_trust::pki::NewKey;
use kopuro_trust::signing::{SignatureAlgorithm, Signer};

const MEMBERS: usize = 200;
const SUBSYSTEMS: usize = 50;
const CALLS: u32 = 1_000_000;
const NOW: UnixMillis = UnixMillis::new(1_795_000_000_000);

fn main() {
    let authority = NewKey::signing(SignatureAlgorithm::EcdsaP256Sha256);
    let authority = Signer::from_pkcs8_der(authority.pkcs8_der()).expect("a generated key can be read");
    let instance = Instance::parse("KG").expect("the name is valid");
    let systems = systems();
    let resources = resources(&systems);
    let sign = |resource| compose::sign_record(&instance, None, NOW, resource, &[&authority]);
    let log: Vec<_> = resources.into_iter().map(sign).collect();
    let anchor = Anchor {
        instance: instance.clone(),
        authority_keys: vec![authority.verifying_key()],
        authority_signatures: 1,
        tls_authorities: vec![String::new()],
    };
    let mut view = View::new(anchor);
    let applied = timed(|| {
        for entry in &log {
            black_box(&mut view).apply(entry).expect("it applies");
        }
    });
    println!(
        "apply     {:>9.1?} a record, {} records",
        applied / u32::try_from(log.len()).expect("it is small"),
        log.len()
    );
    println!("clone     {:>9.1?}", timed(|| drop(black_box(view.clone()))));
    let (consumer, provider) = (&systems[systems.len() - 1], &systems[0]);
    let method = MethodId::new(service(), "GetPensionInfo").expect("the name is valid");
    let allows = timed(|| {
        for _ in 0..CALLS {
            black_box(&view).allows(black_box(consumer), provider, &method, 1, NOW).expect("it is allowed");
        }
    });
    println!("allows    {:>9.1?} a call, the last of {} rights", allows / CALLS, systems.len());
    let sealing = timed(|| {
        for _ in 0..CALLS {
            black_box(black_box(&view).sealing_key(black_box(consumer), NOW).expect("there is one"));
        }
    });
    println!("sealing   {:>9.1?} a lookup", sealing / CALLS);
}

fn systems() -> Vec<SubsystemId> {
    let subsystems = |member: usize| {
        let member =
            MemberId::parse(&format!("KG/GOV/{:08}", 70_000_000 + member)).expect("the code is valid");
        (0..SUBSYSTEMS)
            .map(move |system| member.subsystem(&format!("system-{system}")).expect("the code is valid"))
    };
    (0..MEMBERS).flat_map(subsystems).collect()
}

fn resources(systems: &[SubsystemId]) -> Vec<Resource> {
    let members =
        systems.iter().step_by(SUBSYSTEMS).map(|system| compose::member(&system.member(), "an agency", 3));
    let named = systems.iter().map(|system| compose::subsystem(system, "a system"));
    let keys = systems.iter().map(|system| {
        let spki = NewKey::sealing().spki_der().to_vec();
        let key = compose::key(&spki, KeyPurpose::Sealing, NOW..=NOW.plus(Duration::from_secs(1)));
        key.of_member(&system.member()).for_subsystems(std::slice::from_ref(system)).build()
    });
    let provider = &systems[0];
    let rights = systems
        .iter()
        .map(|system| compose::access_right(provider, Grantee::Subsystem(system.clone()), &service(), None));
    members.chain(named).chain(keys).chain(rights).collect()
}

fn service() -> ServiceName {
    ServiceName::parse("kg.socialfund.v1.PensionService").expect("the name is valid")
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}
