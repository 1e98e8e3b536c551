//! What must agree between the parts of a configuration.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use kopuro_core::id::{Instance, MemberId, SubsystemId};

use super::section::{Listed, Notes, Section};
use super::{MemberConfig, SystemConfig};

/// Notes every name that stands in a list twice, under `key` of the tables `list`.
pub(super) fn told_apart<'n>(
    section: &Section<'_>,
    (list, key): (&str, &str),
    names: impl Iterator<Item = Option<&'n str>>,
) {
    let mut known = HashMap::new();
    for (at, name) in names.enumerate() {
        let Some(name) = name else { continue };
        if let Some(first) = known.get(name) {
            section.fault(&format!("{list}[{at}].{key}"), format!("it is that of {list}[{first}]"));
        } else {
            known.insert(name, at);
        }
    }
}

/// Notes the systems of members that their gateway does not speak for: they would never be served. Nothing is noted
/// while a member is not known.
pub(super) fn spoken_for(
    section: &Section<'_>,
    members: &[Option<MemberConfig>],
    systems: &[Option<SystemConfig>],
) {
    let member = |member: &Option<MemberConfig>| MemberId::parse(&member.as_ref()?.id).ok();
    let Some(members) = members.iter().map(member).collect::<Option<HashSet<_>>>() else { return };
    for (at, system) in systems.iter().enumerate() {
        let subsystem = system.as_ref().and_then(|system| SubsystemId::parse(&system.subsystem).ok());
        let Some(owner) = subsystem.map(|subsystem| subsystem.member()) else { continue };
        if !members.is_empty() && !members.contains(&owner) {
            let fault =
                format!("the gateway does not speak for its member: no [[gateway.member]] is {owner}");
            section.fault(&format!("system[{at}].subsystem"), fault);
        }
    }
}

/// Notes every address on which another one listens.
pub(super) fn listeners(notes: &Notes) {
    let listeners = notes.listeners();
    for (at, Listed { place, value }) in listeners.iter().enumerate() {
        if let Some(first) = listeners[..at].iter().find(|first| collide(first.value, *value)) {
            notes.fault(place, format!("{} takes it already, for {}", first.value, first.place));
        }
    }
}

/// Whether two sockets cannot listen at once. An address of all interfaces takes the port on each of them, and that of
/// IPv6 on those of IPv4 too, as Linux has it.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let [a, b] = [one, other].map(|address| address.ip().to_canonical());
    let covers = |all: IpAddr, other: IpAddr| all.is_unspecified() && (all.is_ipv6() || other.is_ipv4());
    one.port() != 0 && one.port() == other.port() && (a == b || covers(a, b) || covers(b, a))
}

/// Notes every member of another instance than the anchor's.
pub(super) fn members(notes: &Notes, instance: &Instance) {
    for Listed { place, value } in
        notes.members().iter().filter(|member| member.value.instance() != *instance)
    {
        notes.fault(place, format!("{value} is not of the anchor's instance, {instance}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_collide_as_sockets_do() {
        for (one, other, expected) in [
            ("127.0.0.1:", "127.0.0.1:", true),
            ("127.0.0.1:", "127.0.0.2:", false),
            ("0.0.0.0:", "127.0.0.2:", true),
            ("127.0.0.2:", "0.0.0.0:", true),
            ("0.0.0.0:", "0.0.0.0:", true),
            ("[::]:", "127.0.0.1:", true),
            ("[::]:", "0.0.0.0:", true),
            ("[::]:", "[::1]:", true),
            ("[::1]:", "127.0.0.1:", false),
            ("[::1]:", "0.0.0.0:", false),
            ("[::ffff:127.0.0.1]:", "127.0.0.1:", true),
            ("[::ffff:127.0.0.1]:", "[::1]:", false),
        ] {
            let at = |host: &str, port: u16| format!("{host}{port}").parse::<SocketAddr>().unwrap();
            assert_eq!(collide(at(one, 7443), at(other, 7443)), expected, "{one} {other}");
            assert!(!collide(at(one, 7443), at(other, 7444)), "{one} {other}");
            assert!(!collide(at(one, 0), at(other, 0)), "{one} {other}");
        }
    }
}
