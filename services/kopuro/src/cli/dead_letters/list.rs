//! `kopuro dead-letters list`.

use std::process::ExitCode;

use kopuro_core::id::MemberId;
use kopuro_core::statement::Statement;
use kopuro_exchange::dead_letter::{Listed, Resolution, State, Summary};
use serde_json::{Value, json};

use super::desk::Office;
use crate::cli::columns::{aligned, optional, time};
use crate::cli::{complain, say};

const HEADINGS: [&str; 6] = ["POSITION", "STATE", "REASON", "PUT ASIDE", "FOR", "FACTS"];

/// What is listed, and how.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct ListOptions {
    /// Those that were replayed or discarded too, with what became of them.
    #[arg(long)]
    all: bool,
    /// An array of objects: position, member, state, kept_time, reason, subsystem, topic, offset, append_time,
    /// put_aside_time, gateway, cut, exchange, expire_time, resolution. Exchange and expire_time are the record's claim.
    #[arg(long)]
    json: bool,
}

/// Prints the letters of every member that is meant.
pub(super) async fn list(office: &Office, options: ListOptions) -> anyhow::Result<ExitCode> {
    let now = office.clock.now();
    let (mut rows, mut older) = (Vec::new(), 0);
    for desk in &office.desks {
        let listing = desk.list().await?;
        older += listing.older;
        let wanted = listing.letters.into_iter().filter(|listed| options.all || listed.resolution.is_none());
        rows.extend(wanted.map(|listed| Row {
            member: desk.member.clone(),
            state: listed.state(now),
            listed,
        }));
    }
    if options.json {
        say(format_args!("{:#}", rows.iter().map(Row::to_json).collect::<Value>()));
    } else {
        let cells: Vec<_> = rows.iter().map(Row::columns).collect();
        aligned(HEADINGS, &cells).iter().for_each(say);
    }
    if older > 0 {
        complain(&anyhow::anyhow!("{older} older entries are not listed"));
    }
    Ok(ExitCode::SUCCESS)
}

struct Row {
    member: MemberId,
    state: State,
    listed: Listed,
}

impl Row {
    fn columns(&self) -> [String; 6] {
        let Self { member, state, listed: Listed { position, append_time, summary, resolution, id: _ } } =
            self;
        let put_aside = summary.as_ref().map_or(*append_time, |summary| summary.put_aside_time);
        [
            position.to_string(),
            state.name().to_owned(),
            optional(summary.as_ref().map(|summary| summary.reason)),
            time(put_aside),
            summary
                .as_ref()
                .map_or_else(|| member.to_string(), |summary| summary.origin.subsystem.to_string()),
            self.facts(resolution.as_ref()).join("  "),
        ]
    }

    fn facts(&self, resolution: Option<&Resolution>) -> Vec<String> {
        let mut facts = Vec::new();
        if let Some(summary) = &self.listed.summary {
            facts.push(format!("from={}", summary.origin.position));
            facts.extend(summary.cut.map(|cut| format!("cut={}", cut.value_size_bytes)));
            if let Some(statement) = &summary.statement {
                facts.push(format!("exchange={}", statement.exchange));
                facts.push(format!("expires={}", time(statement.expire_time)));
            }
        }
        if let Some(Resolution { time: at, gateway, because, action: _, letter: _ }) = resolution {
            facts.push(format!("resolved={} by={gateway}", time(*at)));
            facts.extend((!because.is_empty()).then(|| format!("because={because:?}")));
        }
        facts
    }

    /// Every key is always there; those that only a gateway's own letter has are null on others.
    fn to_json(&self) -> Value {
        let Self { member, state, listed: Listed { position, append_time, summary, resolution, id: _ } } =
            self;
        let known = |fact: fn(&Summary) -> Value| summary.as_ref().map_or(Value::Null, fact);
        let stated = |fact: fn(&Statement) -> String| {
            summary.as_ref().and_then(|summary| summary.statement.as_deref()).map(fact)
        };
        json!({
            "position": position.to_string(),
            "member": member.as_str(),
            "state": state.name(),
            "kept_time": time(*append_time),
            "reason": known(|summary| summary.reason.name().into()),
            "subsystem": known(|summary| summary.origin.subsystem.as_str().into()),
            "topic": known(|summary| summary.origin.topic().as_str().into()),
            "offset": known(|summary| summary.origin.position.offset.into()),
            "append_time": known(|summary| time(summary.origin.append_time).into()),
            "put_aside_time": known(|summary| time(summary.put_aside_time).into()),
            "gateway": known(|summary| summary.gateway.as_str().into()),
            "cut": known(|summary| summary.cut.is_some().into()),
            "exchange": stated(|statement| statement.exchange.to_string()),
            "expire_time": stated(|statement| time(statement.expire_time)),
            "resolution": resolution.as_ref().map(resolution_json),
        })
    }
}

fn resolution_json(resolution: &Resolution) -> Value {
    let Resolution { letter: _, action, time: at, gateway, because } = resolution;
    json!({ "action": action.to_string(), "time": time(*at), "gateway": gateway, "because": because })
}
