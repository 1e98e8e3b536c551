//! `kopuro dead-letters replay` and `discard`.

use std::process::ExitCode;

use kopuro_broker::Position;
use kopuro_core::error::Reason;
use kopuro_exchange::dead_letter::{Because, DeadLetters, Listed, NotDone, State};

use super::desk::Office;
use super::position::At;
use crate::cli::{complain, say};

/// Which letters are replayed.
#[derive(Debug, clap::Args)]
pub(super) struct ReplayArguments {
    /// The letters, each as PARTITION/OFFSET.
    #[arg(value_name = "POSITION", required_unless_present = "reason", conflicts_with = "reason")]
    positions: Vec<At>,
    /// Every open letter with this reason.
    #[arg(long, value_parser = reason)]
    reason: Option<Reason>,
    /// Why, for the audit trail: at most 256 bytes, no personal data.
    #[arg(long, value_name = "TEXT", value_parser = because, default_value = "")]
    because: Because,
}

/// Which letters are left, and why.
#[derive(Debug, clap::Args)]
pub(super) struct DiscardArguments {
    /// The letters, each as PARTITION/OFFSET.
    #[arg(value_name = "POSITION", required = true)]
    positions: Vec<At>,
    /// Why, for the audit trail: at most 256 bytes, no personal data.
    #[arg(long, value_name = "TEXT", value_parser = because)]
    because: Because,
}

/// Replays letters one after the other, and tells of each.
pub(super) async fn replay(office: &Office, arguments: ReplayArguments) -> anyhow::Result<ExitCode> {
    let ReplayArguments { positions, reason, because } = arguments;
    let desk = office.desk()?;
    let letters = desk.list().await?.letters;
    let now = office.clock.now();
    let has = |listed: &Listed, reason| listed.summary.as_ref().is_some_and(|known| known.reason == reason);
    let chosen = match reason {
        Some(reason) => {
            let open = letters.into_iter().filter(|listed| listed.state(now) == State::Open);
            open.filter(|listed| has(listed, reason)).map(|listed| (listed.position, Some(listed))).collect()
        }
        None => choose(&letters, &positions),
    };
    let mut count = Count::default();
    for (position, listed) in chosen {
        let done = match &listed {
            Some(listed) => replay_one(desk, listed, &because).await,
            None => Err(NotDone::Gone),
        };
        count.tell(position, done);
    }
    count.end(office).await
}

/// Discards letters one after the other, and tells of each.
pub(super) async fn discard(office: &Office, arguments: DiscardArguments) -> anyhow::Result<ExitCode> {
    let DiscardArguments { positions, because } = arguments;
    let desk = office.desk()?;
    let letters = desk.list().await?.letters;
    let mut count = Count::default();
    for (position, listed) in choose(&letters, &positions) {
        let done = match &listed {
            Some(listed) => desk.discard(listed, &because).await.map(|()| "discarded".to_owned()),
            None => Err(NotDone::Gone),
        };
        count.tell(position, done);
    }
    count.end(office).await
}

async fn replay_one(desk: &DeadLetters, listed: &Listed, because: &Because) -> Result<String, NotDone> {
    desk.replay(listed, because)
        .await
        .map(|position| format!("replayed: its record stands at {position} again"))
}

type Chosen = Vec<(Position, Option<Listed>)>;

fn choose(letters: &[Listed], positions: &[At]) -> Chosen {
    let find =
        |At(position): &At| (*position, letters.iter().find(|listed| listed.position == *position).cloned());
    positions.iter().map(find).collect()
}

/// What was done, and what was not.
#[derive(Default)]
struct Count {
    done: usize,
    refused: usize,
}

impl Count {
    fn tell(&mut self, position: Position, done: Result<String, NotDone>) {
        match done {
            Ok(told) => {
                self.done += 1;
                say(format_args!("{position} {told}"));
            }
            Err(fault) => {
                self.refused += 1;
                complain(&anyhow::Error::new(fault).context(position.to_string()));
            }
        }
    }

    async fn end(self, office: &Office) -> anyhow::Result<ExitCode> {
        office.audited().await?;
        if self.done == 0 && self.refused == 0 {
            say("no letter is open for that reason");
        }
        Ok(if self.refused > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

fn because(text: &str) -> Result<Because, String> {
    Because::parse(text).ok_or_else(|| "a text has at most 256 bytes and no control characters".to_owned())
}

fn reason(name: &str) -> Result<Reason, String> {
    Reason::parse(name).ok_or_else(|| "no such reason: docs/reasons.md lists them".to_owned())
}
