//! Dead letters: records that cannot be processed are put aside with their reason, so that none blocks its partition and
//! none is lost, and are resolved by a person.
//!
//! A member's dead-letter topic has the partitions of its call topics. A letter stands in the partition of its record, and
//! so do its resolutions: nothing in the topic is ever changed. Every entry carries a MAC under the member's secret, over
//! its topic-partition too, so that the broker can neither make one nor move one; what it withholds is not seen.

mod desk;
mod entry;
mod letter;
mod listing;
mod put_aside;

pub use desk::{Because, DeadLetters, Examined, NotDone};
pub(crate) use letter::ENTRY_LEN_MAX;
pub use letter::{Action, Cut, Letter, LetterId, Origin, Resolution};
pub use listing::{Listed, Listing, State, Summary};
pub(crate) use put_aside::put_aside;
