//! `kopuro dead-letters show`: identifiers, times, sizes and reasons; never content, of which there is none in the clear.

use std::process::ExitCode;

use anyhow::bail;
use kopuro_core::error::Entry;
use kopuro_core::statement::{Kind, Statement};
use kopuro_exchange::dead_letter::{Action, Examined, Listed, Resolution, Summary};

use super::desk::{Office, find};
use super::position::At;
use super::registry;
use crate::cli::columns::time;
use crate::cli::say;

/// Prints what is known of a letter.
pub(super) async fn show(office: &Office, at: At) -> anyhow::Result<ExitCode> {
    let desk = office.desk()?;
    let Some(listed) = find(desk.list().await?.letters, at) else { bail!("there is no letter at {}", at.0) };
    line("position", listed.position);
    line("state", listed.state(office.clock.now()).name());
    match &listed.summary {
        None => show_foreign(&listed),
        Some(summary) => {
            show_summary(summary);
            let view = registry::view(&*office.broker, &office.anchor).await?;
            show_statement(desk.examine(&listed, &view).await?.as_ref());
        }
    }
    if let Some(resolution) = &listed.resolution {
        show_resolution(resolution);
    }
    Ok(ExitCode::SUCCESS)
}

fn show_foreign(listed: &Listed) {
    line("appended", time(listed.append_time));
    line(
        "written by",
        "nobody who has the member's secret: nothing of it is believed, and it is not replayed",
    );
    line("remedy", "operators: find who can write to the topic");
}

fn show_summary(summary: &Summary) {
    let Summary { origin, reason, put_aside_time, gateway, cut, statement: _ } = summary;
    let Entry { name, side, cause, remedy, reason: _, code: _ } = reason.entry();
    line("reason", name);
    line("cause", cause);
    line("side at fault", side.name());
    line("remedy", remedy);
    line("stood for", &origin.subsystem);
    line("stood at", format_args!("{} of {}", origin.position, origin.topic()));
    line("appended", time(origin.append_time));
    line("put aside", time(*put_aside_time));
    line("by gateway", gateway);
    if let Some(cut) = cut {
        line("record", format_args!("cut: its value had {} bytes", cut.value_size_bytes));
        line("value digest", cut.value_digest);
    }
}

fn show_statement(examined: Option<&Examined>) {
    let Some(Examined { statement, verified }) = examined else {
        return line("statement", "none that can be read");
    };
    line(
        "statement",
        match verified {
            Ok(()) => "verified: signed by a key that may speak for its sender".to_owned(),
            Err(reason) => format!("NOT VERIFIED ({reason}): what follows is only what the record claims"),
        },
    );
    let Statement { kind, exchange, request, sender, recipient, method, create_time, expire_time, .. } =
        statement;
    line(
        "  kind",
        match kind {
            Kind::Request { .. } => "request",
            Kind::Response { .. } => "response",
        },
    );
    line("  exchange", exchange);
    line("  request id", request);
    line("  sender", sender);
    line("  recipient", recipient);
    line("  method", method);
    line("  made", time(*create_time));
    line("  expires", time(*expire_time));
}

fn show_resolution(resolution: &Resolution) {
    let Resolution { letter: _, action, time: at, gateway, because } = resolution;
    let told = match action {
        Action::Replayed(offset) => format!("{action} to offset {offset}"),
        Action::Discarded => action.to_string(),
    };
    line("resolved", format_args!("{told}, {} in the name of {gateway}", time(*at)));
    if !because.is_empty() {
        line("because", because);
    }
}

fn line(name: &str, value: impl std::fmt::Display) {
    say(format_args!("{name:13}  {value}"));
}
