//! Who may change what, and what the view answers.

mod authority;
mod encoding;
mod lookup;
mod rules;
mod signing_key;
